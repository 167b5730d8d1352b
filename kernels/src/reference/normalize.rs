//! Norms over one row or group.

/// Mean and variance.
pub fn moments(x: &[f64]) -> (f64, f64) {
    let width = x.len() as f64;
    let mean = x.iter().sum::<f64>() / width;
    (mean, x.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width)
}

/// (x - mean) / sqrt(variance + epsilon) * (1 + scale) + shift.
pub fn layer_norm_modulate(x: &[f64], scale: &[f64], shift: &[f64], epsilon: f64) -> Vec<f64> {
    let (mean, variance) = moments(x);
    let inverse = 1.0 / (variance + epsilon).sqrt();
    x.iter().zip(scale).zip(shift).map(|((x, scale), shift)| (x - mean) * inverse * (1.0 + scale) + shift).collect()
}

/// x / sqrt(mean of x^2 + epsilon) * weight.
pub fn rms_norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let mean_square = x.iter().map(|value| value * value).sum::<f64>() / x.len() as f64;
    let inverse = 1.0 / (mean_square + epsilon).sqrt();
    x.iter().zip(weight).map(|(x, weight)| x * inverse * weight).collect()
}
