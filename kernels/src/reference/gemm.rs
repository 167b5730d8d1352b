//! y = x W^T + b in float64, with the size of the terms that errors are measured by.

/// A product and the sums of its terms' magnitudes.
#[derive(Debug, Clone)]
pub struct Product {
    /// `[tokens, features]`, row-major.
    pub values: Vec<f64>,
    /// `[tokens, features]`: sum of |x w| and |b|.
    pub magnitudes: Vec<f64>,
}

/// `x`: `[tokens, columns]`; `weight`: `[features, columns]`; `bias`: `[features]`; all row-major.
pub fn gemm(x: &[f64], weight: &[f64], bias: Option<&[f64]>, columns: usize, features: usize) -> Product {
    let tokens = x.len().checked_div(columns).unwrap_or(0);
    let mut product = Product { values: Vec::new(), magnitudes: Vec::new() };
    for token in 0..tokens {
        for feature in 0..features {
            let row = &x[token * columns..][..columns];
            let weights = &weight[feature * columns..][..columns];
            let start = bias.map_or(0.0, |bias| bias[feature]);
            let (mut value, mut magnitude) = (start, start.abs());
            for (x, w) in row.iter().zip(weights) {
                value += x * w;
                magnitude += (x * w).abs();
            }
            product.values.push(value);
            product.magnitudes.push(magnitude);
        }
    }
    product
}
