//! Noise levels of the inference steps: `FlowMatchEulerDiscreteScheduler` of diffusers 0.33, as
//! `StableDiffusion3Pipeline` and `FluxPipeline` drive it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::config::Architecture;
use crate::error::{Error, Result};

/// `scheduler/scheduler_config.json`; missing keys take diffusers' defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    pub num_train_timesteps: usize,
    pub shift: f64,
    pub use_dynamic_shifting: bool,
    pub base_shift: f64,
    pub max_shift: f64,
    pub base_image_seq_len: usize,
    pub max_image_seq_len: usize,
    pub time_shift_type: String,
    invert_sigmas: bool,
    shift_terminal: Option<f64>,
    use_karras_sigmas: bool,
    use_exponential_sigmas: bool,
    use_beta_sigmas: bool,
    stochastic_sampling: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig {
            num_train_timesteps: 1000,
            shift: 1.0,
            use_dynamic_shifting: false,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256,
            max_image_seq_len: 4096,
            time_shift_type: "exponential".into(),
            invert_sigmas: false,
            shift_terminal: None,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            use_beta_sigmas: false,
            stochastic_sampling: false,
        }
    }
}

impl SchedulerConfig {
    /// Reads a parsed `scheduler_config.json`; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another scheduler class or an option that is not implemented,
    /// [`Error::Malformed`] for values of the wrong type.
    pub fn from_json(value: &Value, path: &Path) -> Result<Self> {
        let unsupported = |what: &str, found: String, supported: &str| {
            let what = format!("{what} in {}", path.display());
            Err(Error::Unsupported { what, found, supported: supported.into() })
        };
        let class = value.get("_class_name").and_then(Value::as_str).unwrap_or("FlowMatchEulerDiscreteScheduler");
        if class != "FlowMatchEulerDiscreteScheduler" {
            return unsupported("scheduler class", class.into(), "FlowMatchEulerDiscreteScheduler");
        }
        let config: SchedulerConfig = serde_json::from_value(value.clone())
            .map_err(|e| Error::malformed(path, format!("not a valid scheduler config: {e}")))?;
        let switches = [
            ("invert_sigmas", config.invert_sigmas),
            ("use_karras_sigmas", config.use_karras_sigmas),
            ("use_exponential_sigmas", config.use_exponential_sigmas),
            ("use_beta_sigmas", config.use_beta_sigmas),
            ("stochastic_sampling", config.stochastic_sampling),
        ];
        if let Some((name, _)) = switches.into_iter().find(|(_, on)| *on) {
            return unsupported(name, "true".into(), "false");
        }
        // diffusers takes 0 as absent.
        if let Some(terminal) = config.shift_terminal.filter(|&t| t != 0.0) {
            return unsupported("shift_terminal", terminal.to_string(), "null");
        }
        if !matches!(config.time_shift_type.as_str(), "exponential" | "linear") {
            return unsupported("time_shift_type", config.time_shift_type, "\"exponential\", \"linear\"");
        }
        if config.num_train_timesteps == 0 || config.max_image_seq_len == config.base_image_seq_len {
            return Err(Error::malformed(
                path,
                "num_train_timesteps must be positive, and base_image_seq_len differ from max_image_seq_len",
            ));
        }
        if config.shift.is_nan() || config.shift <= 0.0 {
            return Err(Error::malformed(path, format!("shift is {}, expected a positive number", config.shift)));
        }
        Ok(config)
    }
}

/// Noise levels of a trajectory.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// One per step, falling, then 0.
    pub sigmas: Vec<f32>,
    /// sigma * num_train_timesteps, one per step.
    pub timesteps: Vec<f32>,
}

impl Schedule {
    /// For `steps` inference steps on a picture of `image_tokens` tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] if `steps` is 0.
    pub fn new(
        config: &SchedulerConfig,
        architecture: &Architecture,
        steps: usize,
        image_tokens: usize,
    ) -> Result<Self> {
        if steps == 0 {
            return Err(Error::Usage("--num-inference-steps must be at least 1".into()));
        }
        let train = config.num_train_timesteps as f64;
        let shifted = |sigma: f64| config.shift * sigma / (1.0 + (config.shift - 1.0) * sigma);
        let mut sigmas = match architecture {
            // FluxPipeline passes its own sigmas, as float32.
            Architecture::Flux(_) => {
                let levels = linspace(1.0, 1.0 / steps as f64, steps);
                levels.into_iter().map(|sigma| f64::from(sigma as f32)).collect()
            }
            // The scheduler takes them between its smallest and largest, which its constructor has
            // shifted once already.
            Architecture::Sd3(_) => {
                let bound = |sigma: f64| if config.use_dynamic_shifting { sigma } else { shifted(sigma) };
                let (largest, smallest) = (f64::from(bound(1.0) as f32), f64::from(bound(1.0 / train) as f32));
                linspace(largest * train, smallest * train, steps).into_iter().map(|t| t / train).collect::<Vec<f64>>()
            }
        };
        for sigma in &mut sigmas {
            *sigma =
                if config.use_dynamic_shifting { time_shift(config, image_tokens, *sigma) } else { shifted(*sigma) };
        }
        let mut sigmas: Vec<f32> = sigmas.into_iter().map(|sigma| sigma as f32).collect();
        let timesteps = sigmas.iter().map(|sigma| sigma * config.num_train_timesteps as f32).collect();
        sigmas.push(0.0);
        Ok(Schedule { sigmas, timesteps })
    }

    /// Number of inference steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }
}

/// The shift that grows with the picture: mu is linear in the number of image tokens.
fn time_shift(config: &SchedulerConfig, image_tokens: usize, sigma: f64) -> f64 {
    let span = config.max_image_seq_len as f64 - config.base_image_seq_len as f64;
    let slope = (config.max_shift - config.base_shift) / span;
    let mu = config.base_shift + slope * (image_tokens as f64 - config.base_image_seq_len as f64);
    let strength = if config.time_shift_type == "linear" { mu } else { mu.exp() };
    strength / (strength + (1.0 / sigma - 1.0))
}

/// `count` values from `first` to `last`, both included; one value is `first`.
fn linspace(first: f64, last: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 { (last - first) / (count - 1) as f64 } else { 0.0 };
    (0..count).map(|i| if i + 1 == count && count > 1 { last } else { first + step * i as f64 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::config::{FluxConfig, Sd3Config};
    use serde_json::json;

    #[test]
    fn one_step_goes_from_pure_noise_to_the_picture() {
        let config = SchedulerConfig { shift: 3.0, ..SchedulerConfig::default() };
        for architecture in [Architecture::Sd3(Sd3Config::default()), Architecture::Flux(FluxConfig::default())] {
            let schedule = Schedule::new(&config, &architecture, 1, 4096).unwrap();
            assert_eq!(schedule, Schedule { sigmas: vec![1.0, 0.0], timesteps: vec![1000.0] });
            assert!(Schedule::new(&config, &architecture, 0, 4096).is_err());
        }
    }

    #[test]
    fn options_that_are_not_implemented_are_refused() {
        for (key, value) in [
            ("use_karras_sigmas", json!(true)),
            ("use_beta_sigmas", json!(true)),
            ("use_exponential_sigmas", json!(true)),
            ("invert_sigmas", json!(true)),
            ("stochastic_sampling", json!(true)),
            ("shift_terminal", json!(0.1)),
            ("time_shift_type", json!("cubic")),
            ("_class_name", json!("DDIMScheduler")),
        ] {
            let error = SchedulerConfig::from_json(&json!({ key: value }), Path::new("s.json")).unwrap_err();
            assert_eq!(error.exit_code(), 3, "{key}: {error}");
        }
        assert!(SchedulerConfig::from_json(&json!({"shift": "three"}), Path::new("s.json")).is_err());
        assert_eq!(SchedulerConfig::from_json(&json!({}), Path::new("s.json")).unwrap(), SchedulerConfig::default());
    }
}
