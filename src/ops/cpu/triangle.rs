//! Small upper triangular blocks in float64, where the accuracy of a factorisation is decided.

/// Factors the symmetric positive definite `a` (`[n, n]` row-major, upper triangle read) as `R R^T` with `R`
/// upper triangular, in place. The error is the index of the first pivot, counted from the last column, that
/// is not positive.
pub(super) fn factor_upper(a: &mut [f64], n: usize) -> Result<(), usize> {
    pulp::Arch::new().dispatch(|| {
        let mut column = vec![0.0; n];
        for j in (0..n).rev() {
            let pivot = a[j * n + j];
            if !(pivot > 0.0 && pivot.is_finite()) {
                return Err(j);
            }
            let root = pivot.sqrt();
            a[j * n + j] = root;
            for i in 0..j {
                a[i * n + j] /= root;
                column[i] = a[i * n + j];
            }
            for i in 0..j {
                let left = column[i];
                for (value, right) in a[i * n + i..i * n + j].iter_mut().zip(&column[i..j]) {
                    *value -= left * right;
                }
            }
        }
        Ok(())
    })
}

/// The inverse of the upper triangular `r` (`[n, n]` row-major, entries below the diagonal not read).
pub(super) fn invert_upper(r: &[f64], n: usize) -> Vec<f64> {
    pulp::Arch::new().dispatch(|| {
        let mut inverse = vec![0.0; n * n];
        for i in (0..n).rev() {
            let (above, below) = inverse.split_at_mut((i + 1) * n);
            let row = &mut above[i * n..];
            row[i] = 1.0;
            for k in i + 1..n {
                let factor = r[i * n + k];
                let source = &below[(k - i - 1) * n..(k - i) * n];
                for (value, source) in row[k..].iter_mut().zip(&source[k..]) {
                    *value -= factor * source;
                }
            }
            let pivot = r[i * n + i];
            row[i..].iter_mut().for_each(|value| *value /= pivot);
        }
        inverse
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factor_times_transpose_is_the_matrix_and_inverse_inverts() {
        for n in 0..=64 {
            let x: Vec<f64> = (0..n * n).map(|i| ((i * 7919 + 13) % 101) as f64 / 50.0 - 1.0).collect();
            let dot = |i: usize, j: usize| (0..n).map(|k| x[i * n + k] * x[j * n + k]).sum::<f64>();
            let h: Vec<f64> =
                (0..n * n).map(|at| dot(at / n, at % n) + if at / n == at % n { 1.0 } else { 0.0 }).collect();
            let mut r = h.clone();
            factor_upper(&mut r, n).expect("positive definite");
            let inverse = invert_upper(&r, n);
            for i in 0..n {
                for j in i..n {
                    let product: f64 = (j..n).map(|k| r[i * n + k] * r[j * n + k]).sum();
                    assert!((product - h[i * n + j]).abs() <= 1e-11 * n as f64, "n {n} at ({i}, {j})");
                    let identity: f64 = (i..=j).map(|k| r[i * n + k] * inverse[k * n + j]).sum();
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!((identity - expected).abs() <= 1e-11 * n as f64, "inverse, n {n} at ({i}, {j})");
                }
            }
        }
    }

    #[test]
    fn first_bad_pivot_is_reported() {
        let mut a = vec![1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(factor_upper(&mut a, 3), Err(1));
        let mut nan = vec![f64::NAN];
        assert_eq!(factor_upper(&mut nan, 1), Err(0));
    }
}
