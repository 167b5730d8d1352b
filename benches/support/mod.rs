//! Process CPU time as the measure of a benchmark: all threads, user and system, so that threads are not
//! mistaken for speed.

use std::time::Duration;

use cpu_time::ProcessTime;
use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Process CPU time as criterion's measure.
pub struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = ProcessTime;
    type Value = Duration;

    fn start(&self) -> ProcessTime {
        ProcessTime::now()
    }

    fn end(&self, start: ProcessTime) -> Duration {
        start.elapsed()
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Criterion on CPU time, measuring each benchmark for about `time`.
pub fn criterion(time: Duration) -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .measurement_time(time)
        .warm_up_time(Duration::from_millis(500))
        .configure_from_args()
}
