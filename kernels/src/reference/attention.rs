//! Joint attention: softmax(q k^T / sqrt(head_dim)) v.

/// One query's result and what its error is made of.
#[derive(Debug, Clone)]
pub struct Attended {
    /// `[head_dim]`
    pub values: Vec<f64>,
    /// The same sums over |v|.
    pub magnitudes: Vec<f64>,
    /// Largest sum of |q k| / sqrt(head_dim) over the keys.
    pub largest_score: f64,
}

/// The result of `query` `[head_dim]` over pairs of a key and a value, `[head_dim]` each.
pub fn attention<'a>(query: &[f64], keys_and_values: impl Iterator<Item = (&'a [f64], &'a [f64])> + Clone) -> Attended {
    let scale = 1.0 / (query.len() as f64).sqrt();
    let products = |key: &'a [f64]| query.iter().zip(key).map(|(q, k)| q * k * scale);
    let mut largest_score = 0f64;
    let mut maximum = f64::NEG_INFINITY;
    for (key, _) in keys_and_values.clone() {
        largest_score = largest_score.max(products(key).map(f64::abs).sum());
        maximum = maximum.max(products(key).sum());
    }
    let (mut values, mut magnitudes, mut total) = (vec![0.0; query.len()], vec![0.0; query.len()], 0.0);
    for (key, value) in keys_and_values {
        let weight = (products(key).sum::<f64>() - maximum).exp();
        total += weight;
        for (channel, &v) in value.iter().enumerate() {
            values[channel] += weight * v;
            magnitudes[channel] += weight * v.abs();
        }
    }
    values.iter_mut().chain(&mut magnitudes).for_each(|sum| *sum /= total);
    Attended { values, magnitudes, largest_score }
}
