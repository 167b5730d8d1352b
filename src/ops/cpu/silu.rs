//! SiLU: x / (1 + e^-x).

/// Applies SiLU to every value in place. Only ever a vector per batch row, so one thread does it.
pub fn silu(values: &mut [f32]) {
    for value in values {
        *value /= 1.0 + (-*value).exp();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_float64() {
        for x in (-12_000..=12_000).map(|i| i as f32 * 1e-3) {
            let mut found = [x];
            silu(&mut found);
            let expected = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(found[0]) - expected).abs() <= 3e-7 * expected.abs(), "silu({x}) = {}", found[0]);
        }
        let mut far = [-200.0, 200.0, f32::INFINITY, f32::NAN];
        silu(&mut far);
        assert_eq!(far[..3], [0.0, 200.0, f32::INFINITY]);
        assert!(far[3].is_nan());
    }
}
