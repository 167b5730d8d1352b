//! How much each denoising step counts in the Hessian.

use std::fmt;
use std::str::FromStr;

/// A schedule of timestep weights `a_t`, t = 0 the noisiest step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestepWeights {
    /// 1 everywhere (SparseGPT).
    Uniform,
    LinearIncrease,
    LinearDecrease,
    LogIncrease,
    /// `a_min + (a_max - a_min) / ln T * ln(T - t)` (OBS-Diff, eq. 4).
    LogDecrease,
    /// `|sigma_t - sigma_{t+1}|` scaled to mean 1: an error of the predicted velocity enters the latent times
    /// the length of its step.
    StepSize,
}

const NAMES: [(&str, TimestepWeights); 6] = [
    ("uniform", TimestepWeights::Uniform),
    ("linear-increase", TimestepWeights::LinearIncrease),
    ("linear-decrease", TimestepWeights::LinearDecrease),
    ("log-increase", TimestepWeights::LogIncrease),
    ("log-decrease", TimestepWeights::LogDecrease),
    ("step-size", TimestepWeights::StepSize),
];

impl fmt::Display for TimestepWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = NAMES.iter().find(|(_, schedule)| schedule == self).unwrap_or(&NAMES[0]);
        f.write_str(name)
    }
}

impl FromStr for TimestepWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        NAMES.iter().find(|(name, _)| *name == text).map(|&(_, schedule)| schedule).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|&(name, _)| name).collect();
            format!("expected one of {}, found `{text}`", names.join(", "))
        })
    }
}

impl TimestepWeights {
    /// The weights of all steps. `sigmas`: the noise levels, one more than there are steps, the last 0;
    /// `(low, high)`: a_min and a_max of the linear and logarithmic schedules. One step alone weighs a_max.
    pub fn weights(self, sigmas: &[f32], (low, high): (f64, f64)) -> Vec<f64> {
        let steps = sigmas.len().saturating_sub(1);
        let last = steps as f64 - 1.0;
        let log = |remaining: f64| low + (high - low) / (steps as f64).ln() * remaining.ln();
        let schedule = |t: f64| match self {
            TimestepWeights::Uniform | TimestepWeights::StepSize => 1.0,
            _ if steps == 1 => high,
            TimestepWeights::LinearIncrease => low + (high - low) * t / last,
            TimestepWeights::LinearDecrease => high - (high - low) * t / last,
            TimestepWeights::LogIncrease => log(t + 1.0),
            TimestepWeights::LogDecrease => log(steps as f64 - t),
        };
        if self == TimestepWeights::StepSize {
            let lengths: Vec<f64> = sigmas.windows(2).map(|pair| f64::from((pair[0] - pair[1]).abs())).collect();
            let mean = lengths.iter().sum::<f64>() / steps as f64;
            return lengths.iter().map(|length| length / mean).collect();
        }
        (0..steps).map(|t| schedule(t as f64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, schedule) in NAMES {
            assert_eq!(schedule.to_string(), name);
            assert_eq!(name.parse(), Ok(schedule));
        }
        assert!("log_decrease".parse::<TimestepWeights>().is_err());
    }

    #[test]
    fn step_size_follows_the_sigmas_with_mean_one() {
        let weights = TimestepWeights::StepSize.weights(&[1.0, 0.9, 0.6, 0.0], (0.8, 1.2));
        assert!((weights.iter().sum::<f64>() / 3.0 - 1.0).abs() < 1e-12);
        assert!((weights[1] / weights[0] - 3.0).abs() < 1e-5);
    }
}
