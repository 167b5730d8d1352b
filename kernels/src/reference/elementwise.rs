//! Operations on each value alone.

/// The argument of tanh in [`gelu`].
pub fn gelu_argument(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)
}

/// 0.5 x (1 + tanh(gelu_argument(x))), written so that the negative tail does not cancel.
pub fn gelu(x: f64) -> f64 {
    x / (1.0 + (-2.0 * gelu_argument(x)).exp())
}

pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The pair (a, b) turned by an angle.
pub fn rope([a, b]: [f64; 2], cos: f64, sin: f64) -> [f64; 2] {
    [a * cos - b * sin, b * cos + a * sin]
}
