//! Progress bars with the time left, and a clean stop on Ctrl-C.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{Error, Result};
use crate::job::Progress;
use crate::model::Observer;
use crate::model::taps::Stream;
use crate::ops::Tensor;
use crate::sampling::Probe;

/// Positions of a bar that shows a share.
const SHARES: u64 = 1000;

/// Bars on stderr; nothing is drawn if it is no terminal. While they live, Ctrl-C stops the job at its next step, so
/// that it can clean up, and a second one kills it; before and after, the first one kills it.
pub struct Bars {
    bar: Mutex<ProgressBar>,
}

/// Set by a signal, and while there are no bars; a signal that finds it set ends the process.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let interrupted = Arc::new(AtomicBool::new(true));
    #[cfg(unix)]
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Order matters: the second signal finds the flag set by the first. A refused handler leaves the
        // default, which stops the process at once.
        let kill = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted));
        if kill.is_ok() {
            let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
        }
    }
    interrupted
});

impl Bars {
    pub fn new() -> Self {
        INTERRUPTED.store(false, Ordering::Relaxed);
        Bars { bar: Mutex::new(ProgressBar::hidden()) }
    }
}

impl Bars {
    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        // A bar is whole at any time, whoever panicked while holding it.
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, steps: u64, template: &str, stage: &str) {
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::new(steps).with_style(style).with_message(stage.to_string());
        std::mem::replace(&mut *self.bar(), bar).finish_and_clear();
        tracing::debug!(stage, steps, "begin");
    }

    /// A stage begins whose progress is told as a share of it, by [`Bars::reach`].
    pub fn begin_share(&self, stage: &str) {
        self.replace(SHARES, "{msg:16} [{bar:32}] {percent}%  {elapsed} gone, {eta} left", stage);
    }

    /// The stage is at `share`, 0 to 1.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the user interrupted.
    pub fn reach(&self, share: f64) -> Result<()> {
        self.bar().set_position((share * SHARES as f64) as u64);
        if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Takes the last bar away.
    pub fn end(&self) {
        self.bar().finish_and_clear();
    }
}

impl Progress for Bars {
    fn begin(&self, stage: &str, steps: u64) {
        self.replace(steps, "{msg:16} [{bar:32}] {pos}/{len}  {elapsed} gone, {eta} left", stage);
    }

    fn advance(&self) -> Result<()> {
        self.bar().inc(1);
        if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Interrupted { journaled: false }) } else { Ok(()) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        INTERRUPTED.store(true, Ordering::Relaxed);
        self.bar().finish_and_clear();
    }
}

/// A probe that passes everything on to another one and shows a bar over the steps of all micro-batches; an interrupt
/// ends the trajectory with [`Error::Stopped`].
pub struct Watched<'a> {
    bars: &'a Bars,
    probe: &'a mut dyn Probe,
}

impl<'a> Watched<'a> {
    /// Begins the stage `stage` of `steps` steps, micro-batches times inference steps.
    pub fn new(bars: &'a Bars, stage: &str, steps: usize, probe: &'a mut dyn Probe) -> Self {
        bars.begin(stage, steps as u64);
        Watched { bars, probe }
    }
}

impl Observer for Watched<'_> {
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()> {
        self.probe.observe(module, input)
    }

    fn block_output(&mut self, block: &str, stream: Stream, output: &Tensor) -> Result<()> {
        self.probe.block_output(block, stream, output)
    }
}

impl Probe for Watched<'_> {
    fn begin_batch(&mut self, rows: Range<usize>) -> Result<()> {
        self.probe.begin_batch(rows)
    }

    fn begin_step(&mut self, step: usize, total: usize) -> Result<()> {
        self.probe.begin_step(step, total)
    }

    fn end_step(&mut self, step: usize, latents: &Tensor) -> Result<()> {
        self.probe.end_step(step, latents)?;
        self.bars.advance().map_err(|_| Error::Stopped)
    }
}
