//! Fréchet distance between two sets of features (Dowson and Landau 1982; for generated pictures Heusel et al. 2017,
//! "GANs trained by a two time-scale update rule converge to a local Nash equilibrium").
//!
//! Each set is described by the mean m and covariance C of its features. Then
//!
//! ```text
//! d^2 = |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1^1/2 C2 C1^1/2)^1/2)
//! ```
//!
//! in float64. The last trace is the sum of the singular values of C1^1/2 C2^1/2, and the roots come from symmetric
//! eigendecompositions, so covariances of fewer samples than features, which have no full rank, need no special care.
//! C divides by n - 1, as `numpy.cov` does.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Accum, Mat, MatRef, Par};

use crate::error::{Error, Result};

/// Mean and covariance of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// `[width]`
    mean: Vec<f64>,
    /// [width, width]
    covariance: Vec<f64>,
}

impl Gaussian {
    /// From a mean `[width]` and a symmetric covariance [width, width].
    ///
    /// # Errors
    /// [`Error::Runtime`] if their sizes do not fit each other.
    pub fn new(mean: Vec<f64>, covariance: Vec<f64>) -> Result<Self> {
        if mean.is_empty() || covariance.len() != mean.len() * mean.len() {
            let sizes = format!("a mean of {} and a covariance of {} values", mean.len(), covariance.len());
            return Err(Error::Runtime(format!("{sizes} make no Gaussian")));
        }
        Ok(Gaussian { mean, covariance })
    }

    /// Of at least two samples' features, all of one width.
    ///
    /// # Errors
    /// [`Error::Runtime`] for fewer samples or different widths.
    pub fn of(samples: &[Vec<f32>]) -> Result<Self> {
        let width = samples.first().map_or(0, Vec::len);
        if samples.len() < 2 || samples.iter().any(|sample| sample.len() != width) {
            return Err(Error::Runtime(format!("{} samples of {width} features make no covariance", samples.len())));
        }
        let count = samples.len() as f64;
        let mean: Vec<f64> =
            (0..width).map(|i| samples.iter().map(|sample| f64::from(sample[i])).sum::<f64>() / count).collect();
        let centred = Mat::from_fn(samples.len(), width, |row, column| f64::from(samples[row][column]) - mean[column]);
        let covariance = product(centred.transpose(), centred.as_ref(), 1.0 / (count - 1.0));
        let covariance = (0..width * width).map(|at| covariance[(at / width, at % width)]).collect();
        Gaussian::new(mean, covariance)
    }

    /// Features.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    fn covariance(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.covariance, self.width(), self.width())
    }

    fn variance(&self) -> f64 {
        (0..self.width()).map(|i| self.covariance[i * self.width() + i]).sum()
    }
}

/// The squared distance d^2; what rounding puts below 0 is 0.
///
/// # Errors
/// [`Error::Runtime`] if the widths differ, [`Error::NonFinite`] if a mean or covariance is not finite.
pub fn frechet(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    if a.width() != b.width() {
        return Err(Error::Runtime(format!("a distance between {} and {} features", a.width(), b.width())));
    }
    let finite = |gaussian: &Gaussian| gaussian.mean.iter().chain(&gaussian.covariance).all(|x| x.is_finite());
    if !finite(a) || !finite(b) {
        return Err(Error::NonFinite {
            tensor: "features".into(),
            found: "NaN or infinity".into(),
            context: "in their mean or covariance".into(),
        });
    }
    let means: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let roots = product(root(a.covariance())?.as_ref(), root(b.covariance())?.as_ref(), 1.0);
    Ok((means + a.variance() + b.variance() - 2.0 * nuclear_norm(roots.as_ref())?).max(0.0))
}

/// factor * a b on one thread: the order of the sums never changes.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>, factor: f64) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    faer::linalg::matmul::matmul(&mut out, Accum::Replace, a, b, factor, Par::Seq);
    out
}

/// Eigenvalues and eigenvectors of a symmetric matrix.
fn eigen(matrix: MatRef<'_, f64>) -> Result<(Diag<f64>, Mat<f64>)> {
    let size = matrix.nrows();
    let (mut values, mut vectors) = (Diag::zeros(size), Mat::zeros(size, size));
    let scratch = self_adjoint_evd_scratch::<f64>(size, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    self_adjoint_evd(
        matrix,
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|error| Error::Runtime(format!("eigenvalues of a covariance: {error:?}")))?;
    Ok((values, vectors))
}

/// The symmetric root; eigenvalues below zero, which only rounding makes, count as zero.
fn root(matrix: MatRef<'_, f64>) -> Result<Mat<f64>> {
    let (values, vectors) = eigen(matrix)?;
    let scaled =
        Mat::from_fn(vectors.nrows(), vectors.ncols(), |row, at| vectors[(row, at)] * values[at].max(0.0).sqrt());
    Ok(product(scaled.as_ref(), vectors.transpose(), 1.0))
}

/// Sum of the singular values.
fn nuclear_norm(matrix: MatRef<'_, f64>) -> Result<f64> {
    use faer::linalg::svd::{ComputeSvdVectors::No, svd, svd_scratch};
    let size = matrix.nrows();
    let mut values = Diag::zeros(size);
    let scratch = svd_scratch::<f64>(size, size, No, No, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    svd(matrix, values.as_mut(), None, None, Par::Seq, MemStack::new(&mut memory), Default::default())
        .map_err(|error| Error::Runtime(format!("singular values of a covariance: {error:?}")))?;
    Ok((0..size).map(|i| values[i]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagonal(mean: &[f64], variances: &[f64]) -> Gaussian {
        let width = mean.len();
        let mut covariance = vec![0.0; width * width];
        variances.iter().enumerate().for_each(|(i, &variance)| covariance[i * width + i] = variance);
        Gaussian::new(mean.into(), covariance).unwrap()
    }

    #[test]
    fn independent_features_add_up() {
        let (a, b) = (diagonal(&[0.0, 1.0], &[4.0, 0.0]), diagonal(&[3.0, 1.0], &[1.0, 9.0]));
        // (0 - 3)^2 + (2 - 1)^2 + (0 - 3)^2
        let found = frechet(&a, &b).unwrap();
        assert!((found - 19.0).abs() < 1e-12, "{found}");
        assert!((frechet(&b, &a).unwrap() - found).abs() < 1e-12);
    }

    #[test]
    fn fewer_samples_than_features_are_no_obstacle() {
        let sample = |seed: usize| (0..40).map(|i| ((i * 7 + seed * 13) % 11) as f32).collect::<Vec<f32>>();
        let set = |first: usize| (first..first + 5).map(sample).collect::<Vec<_>>();
        let (a, b) = (Gaussian::of(&set(0)).unwrap(), Gaussian::of(&set(3)).unwrap());
        let scale = a.variance();
        assert!(frechet(&a, &a).unwrap().abs() < 1e-12 * scale, "{:e}", frechet(&a, &a).unwrap() / scale);
        let (ab, ba) = (frechet(&a, &b).unwrap(), frechet(&b, &a).unwrap());
        assert!(ab > 1e-3 * scale && (ab - ba).abs() < 1e-12 * scale, "{ab} {ba}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Gaussian::of(&[vec![1.0]]).is_err());
        assert!(Gaussian::of(&[vec![1.0], vec![1.0, 2.0]]).is_err());
        let (one, two) = (diagonal(&[0.0], &[1.0]), diagonal(&[0.0; 2], &[1.0; 2]));
        assert!(frechet(&one, &two).is_err());
        assert_eq!(frechet(&one, &diagonal(&[f64::NAN], &[1.0])).unwrap_err().exit_code(), 4);
    }
}
