//! Progress bars with the time left, and a clean stop on Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{Error, Result};
use crate::job::Progress;

/// Bars on stderr; nothing is drawn if it is no terminal. Ctrl-C stops the job at its next step, so that it
/// can clean up; a second one kills it.
pub struct Bars {
    bar: Mutex<ProgressBar>,
    interrupted: Arc<AtomicBool>,
}

impl Bars {
    pub fn new() -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Order matters: the second signal finds the flag set by the first. A refused handler leaves the
            // default, which stops the process at once.
            let kill = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted));
            if kill.is_ok() {
                let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
            }
        }
        Bars { bar: Mutex::new(ProgressBar::hidden()), interrupted }
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
        if self.interrupted.load(Ordering::Relaxed) { Err(Error::Interrupted { journaled: false }) } else { Ok(()) }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.bar().finish_and_clear();
    }
}
