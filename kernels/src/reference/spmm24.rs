//! y = x W^T + b in float64 with W packed: straight from the values and metadata of the neutral order.

use crate::reference::gemm::Product;
use crate::reference::pack24::Packed;

/// `x`: `[tokens, columns]`; `weight`: its values' bit patterns are read by `widen`; `bias`: `[features]`.
pub fn spmm24(x: &[f64], weight: &Packed, widen: impl Fn(u16) -> f64, bias: Option<&[f64]>) -> Product {
    let (features, columns) = (weight.rows, weight.columns);
    let tokens = x.len() / columns;
    let mut product = Product { values: Vec::new(), magnitudes: Vec::new() };
    for token in 0..tokens {
        for feature in 0..features {
            let start = bias.map_or(0.0, |bias| bias[feature]);
            let (mut value, mut magnitude) = (start, start.abs());
            for group in 0..columns / 4 {
                let number = feature * (columns / 4) + group;
                for (kept, place) in weight.places(number).into_iter().enumerate() {
                    let term = x[token * columns + group * 4 + place] * widen(weight.values[number * 2 + kept]);
                    value += term;
                    magnitude += term.abs();
                }
            }
            product.values.push(value);
            product.magnitudes.push(magnitude);
        }
    }
    product
}
