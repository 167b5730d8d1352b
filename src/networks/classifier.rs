//! A multilayer perceptron on the values of small pictures, whose last hidden layer describes a picture.

use std::path::Path;

use super::weights::Weights;
use crate::error::{Error, Result};
use crate::ops::Tensor;

/// Mean and covariance of the features of real pictures, as the file calls them.
const REAL_MEAN: &str = "real_feat_mean";
const REAL_COVARIANCE: &str = "real_feat_cov";

/// Linear layers with ReLU between them: h = max(h wK^T + bK, 0) for K = 1, 2, ...; the last layer would give classes
/// and is not run.
#[derive(Debug)]
pub struct Classifier {
    weights: Weights,
    /// Outputs of each hidden layer, behind the inputs of the first.
    widths: Vec<usize>,
}

impl Classifier {
    /// A safetensors file with `w1` [width, inputs], `b1` `[width]`, `w2`, `b2`, ...; at least two layers.
    ///
    /// # Errors
    /// Those of [`Weights::open_file`]; [`Error::TensorMissing`] if there are not two layers, or one lacks its bias;
    /// [`Error::Shape`] if a layer does not take what the one before it gives.
    pub fn open(path: &Path) -> Result<Self> {
        let weights = Weights::open_file(path)?;
        let layers = (1..).take_while(|layer| weights.has(&format!("w{layer}"))).count();
        if layers < 2 {
            return Err(Error::TensorMissing {
                path: path.into(),
                tensor: format!("w{}", layers + 1),
                hint: "features come from a classifier with the Linear layers w1, b1, w2, b2, ..., at least two".into(),
            });
        }
        let mut widths = Vec::new();
        for layer in 1..=layers {
            let (name, bias) = (format!("w{layer}"), format!("b{layer}"));
            let shape = weights.shape(&name)?.to_vec();
            let refused = |tensor: &str, expected: String, found: &[usize]| Error::Shape {
                path: path.into(),
                tensor: tensor.into(),
                expected,
                found: found.to_vec(),
            };
            let (rows, columns) = match (shape.as_slice(), widths.last()) {
                (&[rows, columns], None) if rows * columns > 0 => (rows, columns),
                (&[rows, columns], Some(&inputs)) if rows > 0 && columns == inputs => (rows, columns),
                (_, inputs) => {
                    let inputs = inputs.map_or("the values of a picture".into(), usize::to_string);
                    return Err(refused(&name, format!("[outputs, {inputs}]"), &shape));
                }
            };
            if !weights.has(&bias) {
                let hint = format!("it belongs to `{name}`");
                return Err(Error::TensorMissing { path: path.into(), tensor: bias, hint });
            }
            if weights.shape(&bias)? != [rows] {
                return Err(refused(&bias, format!("[{rows}], the rows of `{name}`"), weights.shape(&bias)?));
            }
            if layer == 1 {
                widths.push(columns);
            }
            widths.push(rows);
        }
        widths.pop();
        Ok(Classifier { weights, widths })
    }

    /// Values that a picture has.
    pub fn inputs(&self) -> usize {
        self.widths[0]
    }

    /// Features of a picture.
    pub fn width(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// Where the weights lie.
    pub fn path(&self) -> &Path {
        self.weights.path()
    }

    /// The last hidden layer of pictures [n, inputs]: [n, width].
    ///
    /// # Errors
    /// [`Error::Runtime`] for other shapes, [`Error::NonFinite`] for such weights.
    pub fn features(&self, pictures: &Tensor) -> Result<Tensor> {
        let mut hidden = pictures.clone();
        for (layer, widths) in self.widths.windows(2).enumerate() {
            let weight = self.weights.tensor(&format!("w{}", layer + 1), &[widths[1], widths[0]])?;
            let bias = self.weights.tensor(&format!("b{}", layer + 1), &[widths[1]])?;
            hidden = crate::ops::linear(&hidden, &weight, Some(&bias))?;
            hidden.as_mut_slice()?.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        Ok(hidden)
    }

    /// Mean `[width]` and covariance [width, width] of the features of real pictures, where the file holds them.
    ///
    /// # Errors
    /// [`Error::TensorMissing`] if it holds one of the two, [`Error::Shape`] for another width.
    pub fn real(&self) -> Result<Option<[Tensor; 2]>> {
        let present = [REAL_MEAN, REAL_COVARIANCE].map(|name| self.weights.has(name));
        if present == [false; 2] {
            return Ok(None);
        }
        let path = self.path().to_path_buf();
        if let Some(absent) = present.iter().position(|present| !present) {
            let names = [REAL_MEAN, REAL_COVARIANCE];
            let hint = format!("it belongs to `{}`", names[1 - absent]);
            return Err(Error::TensorMissing { path, tensor: names[absent].into(), hint });
        }
        let width = self.width();
        let read = |name: &str, shape: &[usize]| {
            let found = self.weights.shape(name)?;
            if found != shape {
                let expected = format!("{shape:?} for {width} features");
                return Err(Error::Shape { path: path.clone(), tensor: name.into(), expected, found: found.to_vec() });
            }
            self.weights.tensor(name, shape)
        };
        Ok(Some([read(REAL_MEAN, &[width])?, read(REAL_COVARIANCE, &[width, width])?]))
    }
}
