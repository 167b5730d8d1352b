//! The transformers: forward pass on tensors. Knows nothing of pruning: it shows every Linear's
//! input to an [`Observer`] and lets a weight be replaced.
//!
//! ```text
//! latents -> embeddings -> joint blocks (image and text streams) [-> single blocks] -> norm_out, proj_out
//! ```
//!
//! Numerically these are `SD3Transformer2DModel` and `FluxTransformer2DModel` of diffusers 0.33.

mod embeddings;
mod flux;
mod joint_block;
mod pass;
mod sd3;
pub mod taps;
mod weights;

use std::sync::Arc;

use crate::checkpoint::config::Architecture;
use crate::checkpoint::{Checkpoint, Pipeline};
use crate::error::{Error, Result};
use crate::ops::{DType, Engine, Place, Tensor};
use pass::Pass;
use weights::Weights;

/// Sees the input of every Linear during a forward pass.
pub trait Observer {
    /// Called before Linear `module` (diffusers module path) is applied to `input` (in the engine's dtype for
    /// activations, last dimension = input features).
    fn observe(&mut self, module: &str, input: &Tensor) -> Result<()>;

    /// Called with the result of `block` for each of its token streams, [batch, tokens, width].
    fn block_output(&mut self, _block: &str, _stream: taps::Stream, _output: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// An observer that looks away.
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&mut self, _: &str, _: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// What one forward call reads, under diffusers' names. All tensors are f32 and on the transformer's engine.
pub struct ForwardInput<'a> {
    /// SD3: latents [batch, channels, height, width]; FLUX: packed latents [batch, tokens, channels].
    pub hidden_states: &'a Tensor,
    /// Prompt embeddings, [batch, tokens, joint_attention_dim].
    pub encoder_hidden_states: &'a Tensor,
    /// Pooled prompt embeddings, [batch, pooled_projection_dim].
    pub pooled_projections: &'a Tensor,
    /// One per batch row. SD3: 0 to 1000; FLUX: 0 to 1, as the diffusers module takes it.
    pub timestep: &'a [f32],
    /// The guidance scale of each batch row, which a guidance-distilled FLUX takes as an input; others
    /// ignore it.
    pub guidance: Option<&'a [f32]>,
    /// Rows and columns of FLUX's image tokens; SD3 reads its grid from the latents.
    pub image_grid: [usize; 2],
}

/// Reads one tensor of the checkpoint by name: values and shape.
pub type ReadTensor<'a> = dyn FnMut(&str) -> Result<(Vec<f32>, Vec<usize>)> + 'a;

/// A transformer in the memory of an engine.
pub struct Transformer {
    architecture: Architecture,
    weights: Weights,
    engine: Arc<dyn Engine>,
}

impl Transformer {
    /// Reads every tensor that `architecture` needs and holds it as `dtype` on `engine`. A narrower weight is
    /// widened at use.
    ///
    /// # Errors
    /// Those of `read` and of the engine; [`crate::Error::NonFinite`] for a tensor that holds NaN or infinity, or
    /// that overflows in `dtype`; [`crate::Error::Unsupported`] for heads that the engine has no attention for. Checking
    /// shapes is the reader's task.
    pub fn load(
        architecture: Architecture,
        dtype: DType,
        engine: Arc<dyn Engine>,
        read: &mut ReadTensor,
    ) -> Result<Self> {
        check_heads(&architecture, engine.place())?;
        let weights = Weights::load(&weights::tensor_names(&architecture), dtype, &*engine, read)?;
        Ok(Transformer { architecture, weights, engine })
    }

    /// [`Transformer::load`] from the shards of a model folder; pages of the files are given back as they are
    /// read.
    ///
    /// # Errors
    /// Those of [`Transformer::load`].
    pub fn from_checkpoint(
        architecture: Architecture,
        checkpoint: &Checkpoint,
        dtype: DType,
        engine: Arc<dyn Engine>,
    ) -> Result<Self> {
        Transformer::load(architecture, dtype, engine, &mut |name| {
            let values = checkpoint.to_f32(name)?;
            let shape = checkpoint.info(name).map(|info| info.shape.clone()).unwrap_or_default();
            checkpoint.release(name);
            Ok((values, shape))
        })
    }

    /// Opens, checks and loads the weights of a model folder.
    ///
    /// # Errors
    /// Those of [`Pipeline::weights`] and of [`Transformer::load`].
    pub fn open(pipeline: &Pipeline, dtype: DType, engine: Arc<dyn Engine>) -> Result<Self> {
        Self::from_checkpoint(pipeline.architecture.clone(), &pipeline.weights()?, dtype, engine)
    }

    /// The engine that holds the weights and runs the forward pass.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The configuration that the transformer was loaded with.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// One forward call: the predicted velocity in f32, in the shape of `hidden_states`. `observer` sees the
    /// input of every Linear.
    ///
    /// # Errors
    /// Those of `observer`; [`crate::Error::Usage`] for latents larger than SD3's position table;
    /// [`crate::Error::Runtime`] if shapes do not fit each other.
    pub fn forward(&self, input: &ForwardInput, observer: &mut dyn Observer) -> Result<Tensor> {
        let engine = &*self.engine;
        let velocity = match &self.architecture {
            Architecture::Sd3(config) => {
                let mut pass = Pass::new(&self.weights, engine, observer, config.attention_head_dim);
                sd3::forward(config, &mut pass, input)
            }
            Architecture::Flux(config) => {
                let mut pass = Pass::new(&self.weights, engine, observer, config.attention_head_dim);
                flux::forward(config, &mut pass, input)
            }
        };
        velocity?.to_dtype(DType::F32)
    }

    /// Weight of a Linear, [rows, columns], in the dtype and on the engine that it is held in.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] if the model has no Linear `module`.
    pub fn weight(&self, module: &str) -> Result<&Tensor> {
        self.weights.get(&format!("{module}.weight"))
    }

    /// Replaces the weight of a Linear, [rows, columns] in host memory; it is converted to the dtype of the old one.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] if the model has no Linear `module`, [`crate::Error::Runtime`] if
    /// `weight` is not a matrix.
    pub fn set_weight(&mut self, module: &str, weight: Tensor) -> Result<()> {
        weight.dims2()?;
        self.weights.replace(&format!("{module}.weight"), weight, &*self.engine)
    }

    /// Bias of a Linear, one value per row.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] if the model has no Linear `module`.
    pub fn bias(&self, module: &str) -> Result<&Tensor> {
        self.weights.get(&format!("{module}.bias"))
    }

    /// Replaces the bias of a Linear, one value per row in host memory; it is converted to the dtype of the old one.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] if the model has no Linear `module`, [`crate::Error::Runtime`] if
    /// `bias` is not a vector.
    pub fn set_bias(&mut self, module: &str, bias: Tensor) -> Result<()> {
        bias.dims1()?;
        self.weights.replace(&format!("{module}.bias"), bias, &*self.engine)
    }

    /// Packs the weight of every Linear that pruning may choose and that is 2:4 sparse with a multiple of 32 columns,
    /// so that its products run on sparse tensor cores; a packed weight can be replaced and no longer read. Returns
    /// how many were packed.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] on the CPU and for weights in f32; those of the engine.
    pub fn pack_sparse(&mut self) -> Result<usize> {
        let mut packed = 0;
        for linear in taps::taps(&self.architecture).into_iter().flat_map(|tap| tap.linears) {
            packed += usize::from(self.weights.pack24(&linear.weight())?);
        }
        Ok(packed)
    }

    /// Bytes of all tensors in memory.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }
}

/// Refuses, before anything is read, heads that the engine whose memory is `place` does not compute.
fn check_heads(architecture: &Architecture, place: Place) -> Result<()> {
    let channels = match architecture {
        Architecture::Sd3(config) => config.attention_head_dim,
        Architecture::Flux(config) => config.attention_head_dim,
    };
    if place.attends_heads_of(channels) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: "attention_head_dim on a GPU".into(),
        found: channels.to_string(),
        supported: "multiples of 8 up to 128; --device cpu takes any".into(),
    })
}
