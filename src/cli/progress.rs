//! Progress bars with the time left, and a clean stop on Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{Error, Result};
use crate::job::Progress;

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
}

impl Progress for Bars {
    fn begin(&self, stage: &str, steps: u64) {
        let style = ProgressStyle::with_template("{msg:16} [{bar:32}] {pos}/{len}  {elapsed} gone, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::new(steps).with_style(style).with_message(stage.to_string());
        std::mem::replace(&mut *self.bar(), bar).finish_and_clear();
        tracing::debug!(stage, steps, "begin");
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
