//! LPIPS: what AlexNet or VGG16 see in two pictures, compared layer by layer (Zhang, Isola, Efros, Shechtman, Wang 2018,
//! "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1; version 0.1 of their weights).
//!
//! ```text
//! picture in [-1, 1] -> (x - shift) / scale -> slice 1 -> slice 2 -> ... -> slice 5
//!                                                 |          |                 |        features f_l [h, w, channels]
//!                                             u_l = f_l / |f_l| over the channels
//! d = sum over l of the mean over pixels of  sum over c of lin_l[c] (u_l[c] - v_l[c])^2
//! ```

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::Conv2d;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::ops::Tensor;

/// Keeps |f| from zero, as `normalize_tensor` of the `lpips` package does.
const EPSILON: f64 = 1e-10;
const COLOURS: usize = 3;

/// The network whose features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backbone {
    Alex,
    Vgg,
}

/// One convolution with ReLU; its number is its place in torchvision's `features`.
struct Layer {
    slice: usize,
    number: usize,
    features: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

const fn layer(slice: usize, number: usize, features: usize, [kernel, stride, padding]: [usize; 3]) -> Layer {
    Layer { slice, number, features, kernel, stride, padding }
}

/// Kernel, stride and padding of most layers.
const SAME: [usize; 3] = [3, 1, 1];

const ALEX: [Layer; 5] = [
    layer(1, 0, 64, [11, 4, 2]),
    layer(2, 3, 192, [5, 1, 2]),
    layer(3, 6, 384, SAME),
    layer(4, 8, 256, SAME),
    layer(5, 10, 256, SAME),
];

const VGG: [Layer; 13] = [
    layer(1, 0, 64, SAME),
    layer(1, 2, 64, SAME),
    layer(2, 5, 128, SAME),
    layer(2, 7, 128, SAME),
    layer(3, 10, 256, SAME),
    layer(3, 12, 256, SAME),
    layer(3, 14, 256, SAME),
    layer(4, 17, 512, SAME),
    layer(4, 19, 512, SAME),
    layer(4, 21, 512, SAME),
    layer(5, 24, 512, SAME),
    layer(5, 26, 512, SAME),
    layer(5, 28, 512, SAME),
];

impl Backbone {
    /// As the `lpips` package calls it.
    pub fn name(self) -> &'static str {
        match self {
            Backbone::Alex => "alex",
            Backbone::Vgg => "vgg",
        }
    }

    /// Pixels that a picture needs in each direction: the last slice must see one.
    pub fn smallest(self) -> usize {
        match self {
            Backbone::Alex => 31,
            Backbone::Vgg => 16,
        }
    }

    fn layers(self) -> &'static [Layer] {
        match self {
            Backbone::Alex => &ALEX,
            Backbone::Vgg => &VGG,
        }
    }

    /// Size and stride of the max pooling before a slice.
    fn pooling(self, slice: usize) -> Option<[usize; 2]> {
        match self {
            Backbone::Alex => matches!(slice, 2 | 3).then_some([3, 2]),
            Backbone::Vgg => (slice > 1).then_some([2, 2]),
        }
    }
}

/// The network and the weights of its layers' differences.
#[derive(Debug)]
pub struct Lpips {
    backbone: Backbone,
    path: PathBuf,
    /// Of red, green and blue.
    shift: Vec<f32>,
    scale: Vec<f32>,
    slices: Vec<Slice>,
}

#[derive(Debug)]
struct Slice {
    pooling: Option<[usize; 2]>,
    layers: Vec<Conv2d>,
    /// `[channels]`
    lin: Vec<f32>,
}

impl Lpips {
    /// The state of `lpips.LPIPS(net="alex")` or `(net="vgg")` in a safetensors file; which one the names tell.
    ///
    /// # Errors
    /// Those of [`Weights::open_file`]; [`Error::Malformed`] for a file of other names, [`Error::TensorMissing`],
    /// [`Error::Shape`], [`Error::NonFinite`].
    pub fn open(path: &Path) -> Result<Self> {
        let weights = Weights::open_file(path)?;
        let backbone = match (weights.has("net.slice5.10.weight"), weights.has("net.slice5.28.weight")) {
            (true, false) => Backbone::Alex,
            (false, true) => Backbone::Vgg,
            _ => {
                let problem = "holds neither the `net.slice5.10.weight` of AlexNet nor the `net.slice5.28.weight` of \
                               VGG16; expected the state of lpips.LPIPS(net=\"alex\") or (net=\"vgg\"), saved as \
                               docs/metrics.md says";
                return Err(Error::malformed(path, problem));
            }
        };
        let file = File { weights: &weights, backbone };
        let mut slices: Vec<Slice> = Vec::new();
        let mut channels = COLOURS;
        for layer in backbone.layers() {
            let module = format!("net.slice{}.{}", layer.slice, layer.number);
            let shape = [layer.features, channels, layer.kernel, layer.kernel];
            let weight = file.tensor(&format!("{module}.weight"), &shape)?;
            let bias = file.tensor(&format!("{module}.bias"), &[layer.features])?;
            let conv = Conv2d::new(&weight, Some(&bias), layer.stride, layer.padding)?;
            channels = layer.features;
            if slices.len() < layer.slice {
                slices.push(Slice { pooling: backbone.pooling(layer.slice), layers: Vec::new(), lin: Vec::new() });
            }
            let slice = &mut slices[layer.slice - 1];
            slice.layers.push(conv);
            if slice.lin.len() != channels {
                slice.lin = file.lin(layer.slice - 1, channels)?;
            }
        }
        let colours = |name: &str| file.tensor(name, &[1, COLOURS, 1, 1])?.to_vec();
        let (shift, scale) = (colours("scaling_layer.shift")?, colours("scaling_layer.scale")?);
        Ok(Lpips { backbone, path: path.into(), shift, scale, slices })
    }

    /// Which network it is.
    pub fn backbone(&self) -> Backbone {
        self.backbone
    }

    /// Where the weights lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Distance of two pictures [height, width, 3] with values in [-1, 1].
    ///
    /// # Errors
    /// [`Error::Runtime`] if their shapes differ or one is smaller than [`Backbone::smallest`].
    pub fn distance(&self, a: &Tensor, b: &Tensor) -> Result<f64> {
        if a.dims() != b.dims() {
            return Err(Error::Runtime(format!("LPIPS of {a:?} and {b:?}")));
        }
        let mut pair = [self.scaled(a)?, self.scaled(b)?];
        let mut sum = 0.0;
        for slice in &self.slices {
            for side in &mut pair {
                *side = slice.apply(side)?;
            }
            sum += difference(&pair[0], &pair[1], &slice.lin)?;
        }
        Ok(sum)
    }

    fn scaled(&self, picture: &Tensor) -> Result<Tensor> {
        let mut scaled = picture.clone();
        for pixel in scaled.as_mut_slice()?.chunks_exact_mut(COLOURS) {
            for ((value, shift), scale) in pixel.iter_mut().zip(&self.shift).zip(&self.scale) {
                *value = (*value - shift) / scale;
            }
        }
        Ok(scaled)
    }
}

impl Slice {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = match self.pooling {
            Some([size, stride]) => max_pool(x, size, stride)?,
            None => x.clone(),
        };
        for layer in &self.layers {
            x = layer.apply(&x)?;
            x.as_mut_slice()?.par_iter_mut().for_each(|value| *value = value.max(0.0));
        }
        Ok(x)
    }
}

/// The largest of each `size` x `size` pixels, every `stride` pixels, of `x` [height, width, channels].
fn max_pool(x: &Tensor, size: usize, stride: usize) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    if height < size || width < size {
        return Err(Error::Runtime(format!("max_pool of {size} pixels on {x:?}")));
    }
    let [rows, columns] = [height, width].map(|pixels| (pixels - size) / stride + 1);
    let values = x.as_slice()?;
    let mut out = vec![f32::NEG_INFINITY; rows * columns * channels];
    out.par_chunks_mut(columns * channels).enumerate().for_each(|(row, out)| {
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            for (dy, dx) in (0..size).flat_map(|dy| (0..size).map(move |dx| (dy, dx))) {
                let pixel = &values[((row * stride + dy) * width + column * stride + dx) * channels..][..channels];
                out.iter_mut().zip(pixel).for_each(|(largest, &value)| *largest = largest.max(value));
            }
        }
    });
    Tensor::from_vec(out, [rows, columns, channels])
}

/// Mean over the pixels of sum over c of lin[c] (a[c] / |a| - b[c] / |b|)^2, summed row by row in float64.
fn difference(a: &Tensor, b: &Tensor, lin: &[f32]) -> Result<f64> {
    let (height, width, channels) = a.dims3()?;
    let rows = a.as_slice()?.par_chunks_exact(width * channels).zip(b.as_slice()?.par_chunks_exact(width * channels));
    let inverse = |pixel: &[f32]| {
        let square: f64 = pixel.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        1.0 / (square.sqrt() + EPSILON)
    };
    let sums: Vec<f64> = rows
        .map(|(a, b)| {
            let pixels = a.chunks_exact(channels).zip(b.chunks_exact(channels));
            let pixel = |(a, b): (&[f32], &[f32])| -> f64 {
                let (inverse_a, inverse_b) = (inverse(a), inverse(b));
                let terms = a.iter().zip(b).zip(lin);
                terms
                    .map(|((&a, &b), &lin)| {
                        f64::from(lin) * (f64::from(a) * inverse_a - f64::from(b) * inverse_b).powi(2)
                    })
                    .sum()
            };
            pixels.map(pixel).sum()
        })
        .collect();
    Ok(sums.iter().sum::<f64>() / (height * width) as f64)
}

/// An open file, and what it must hold.
struct File<'a> {
    weights: &'a Weights,
    backbone: Backbone,
}

impl File<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let net = self.backbone.name();
        self.weights.tensor(name, shape).map_err(|error| match error {
            Error::TensorMissing { path, tensor, .. } => {
                let hint =
                    format!("expected the whole state of lpips.LPIPS(net=\"{net}\"), saved as docs/metrics.md says");
                Error::TensorMissing { path, tensor, hint }
            }
            Error::Shape { path, tensor, found, .. } => Error::Shape {
                path,
                tensor,
                expected: format!("{shape:?}, as lpips.LPIPS(net=\"{net}\") has it"),
                found,
            },
            other => other,
        })
    }

    /// The weights of a slice's differences: the package keeps them under two names, and a file has one or both.
    fn lin(&self, index: usize, channels: usize) -> Result<Vec<f32>> {
        let names = [format!("lin{index}.model.1.weight"), format!("lins.{index}.model.1.weight")];
        let present = names.iter().find(|name| self.weights.has(name)).unwrap_or(&names[0]);
        self.tensor(present, &[1, channels, 1, 1])?.to_vec()
    }
}
