//! y = x W^T + b.

use gemm::Parallelism;

/// x: [rows, columns] row-major; weight: [features, columns] row-major; bias: `features` values.
/// The result is [rows, features], row-major. The sum over columns has an order that depends on the
/// shapes alone.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, columns: usize, features: usize) -> Vec<f32> {
    let rows = x.len().checked_div(columns).unwrap_or(0);
    assert_eq!((x.len(), weight.len()), (rows * columns, features * columns), "linear: sizes of x and weight");
    let mut out = match bias {
        Some(bias) => {
            assert_eq!(bias.len(), features, "linear: size of bias");
            bias.repeat(rows)
        }
        None => vec![0.0; rows * features],
    };
    // SAFETY: the three slices have the sizes checked above, and all strides stay inside them; `out` is
    // borrowed by nobody else.
    unsafe {
        gemm::gemm(
            rows,
            features,
            columns,
            out.as_mut_ptr(),
            1,
            features as isize,
            true,
            x.as_ptr(),
            1,
            columns as isize,
            weight.as_ptr(),
            columns as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: usize, columns: usize, features: usize) {
        let value = |i: usize, salt: usize| (((i + salt) * 7919 % 2003) as f32 - 1000.0) * 1e-3;
        let x: Vec<f32> = (0..rows * columns).map(|i| value(i, 1)).collect();
        let weight: Vec<f32> = (0..features * columns).map(|i| value(i, 2)).collect();
        let bias: Vec<f32> = (0..features).map(|i| value(i, 3)).collect();
        let out = linear(&x, &weight, Some(&bias), columns, features);
        assert_eq!(out.len(), rows * features);
        for row in 0..rows {
            for feature in 0..features {
                let (mut expected, mut size) = (f64::from(bias[feature]), 1.0);
                for column in 0..columns {
                    let term = f64::from(x[row * columns + column]) * f64::from(weight[feature * columns + column]);
                    expected += term;
                    size += term.abs();
                }
                let error = (f64::from(out[row * features + feature]) - expected).abs();
                assert!(error <= 1e-6 * size, "{rows}x{columns}x{features} at ({row}, {feature}): off by {error}");
            }
        }
    }

    #[test]
    fn matches_float64_for_every_size() {
        for size in 1..=64 {
            check(size, 65 - size, size);
            check(1, size, 3);
            check(5, 7, size);
        }
        check(0, 4, 4);
        check(100, 112, 448);
        check(257, 513, 129);
    }
}
