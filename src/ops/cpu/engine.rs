//! The CPU as an engine: tensors in host memory, operations of this folder.

use std::sync::{Arc, LazyLock};

use half::{bf16, f16};

use super::hessian::Accumulator;
use super::{
    add, attention, cast, cat, gated_residual, gelu, guidance, is_finite, layer_norm, linear, rms_norm, rope, silu,
    strided_copy,
};
use crate::error::{Error, Result};
use crate::ops::tensor::{Element, Values};
use crate::ops::{DType, Engine, Hessian, Place, Qkv, Strided, Symmetric, Tensor};

/// The engine of host memory.
#[derive(Debug)]
struct Cpu;

/// The CPU.
pub fn cpu_engine() -> Arc<dyn Engine> {
    static CPU: LazyLock<Arc<dyn Engine>> = LazyLock::new(|| Arc::new(Cpu));
    CPU.clone()
}

impl Engine for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn activations(&self, _: DType) -> DType {
        DType::F32
    }

    fn place(&self) -> Place {
        Place::Host
    }

    fn available_memory(&self) -> Option<u64> {
        crate::memory::available()
    }

    fn upload(&self, host: &Tensor) -> Result<Tensor> {
        Ok(host.clone())
    }

    fn download(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn to_dtype(&self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        let wide = match x.host_values()? {
            Values::F32(values) => values.clone(),
            Values::F16(values) => Arc::new(cast::f16_to_f32(values)),
            Values::BF16(values) => Arc::new(cast::bf16_to_f32(values)),
        };
        let values = match dtype {
            DType::F32 => Values::F32(wide),
            DType::F16 => Element::into_values(cast::f32_to_f16(&wide)),
            DType::BF16 => Element::into_values(cast::f32_to_bf16(&wide)),
        };
        Tensor::from_values(values, x.dims())
    }

    fn strided_copy(&self, x: &Tensor, at: &Strided) -> Result<Tensor> {
        let values = match x.host_values()? {
            Values::F32(values) => Element::into_values(strided_copy::strided_copy(values, at)),
            Values::F16(values) => Element::into_values(strided_copy::strided_copy(values, at)),
            Values::BF16(values) => Element::into_values(strided_copy::strided_copy(values, at)),
        };
        Tensor::from_values(values, at.shape.as_slice())
    }

    fn cat(&self, tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
        let mut shape = tensors[0].dims().to_vec();
        let rows = shape[..axis].iter().product();
        shape[axis] = tensors.iter().map(|tensor| tensor.dims()[axis]).sum();
        let values = match tensors[0].dtype() {
            DType::F32 => Element::into_values(cat::cat(&slices::<f32>(tensors)?, rows)),
            DType::F16 => Element::into_values(cat::cat(&slices::<f16>(tensors)?, rows)),
            DType::BF16 => Element::into_values(cat::cat(&slices::<bf16>(tensors)?, rows)),
        };
        Tensor::from_values(values, shape)
    }

    fn is_finite(&self, x: &Tensor) -> Result<bool> {
        Ok(is_finite::is_finite(x.as_slice()?))
    }

    fn add(&self, mut x: Tensor, y: &Tensor) -> Result<Tensor> {
        add::add(x.as_mut_slice()?, y.as_slice()?);
        Ok(x)
    }

    fn add_scaled(&self, mut x: Tensor, scale: f32, y: &Tensor) -> Result<Tensor> {
        add::add_scaled(x.as_mut_slice()?, scale, y.as_slice()?);
        Ok(x)
    }

    fn guidance(&self, branches: &Tensor, scale: f32) -> Result<Tensor> {
        let mut shape = branches.dims().to_vec();
        shape[0] /= 2;
        Tensor::from_vec(guidance::guidance(branches.as_slice()?, scale), shape)
    }

    fn silu(&self, mut x: Tensor) -> Result<Tensor> {
        silu::silu(x.as_mut_slice()?);
        Ok(x)
    }

    fn gelu(&self, mut x: Tensor) -> Result<Tensor> {
        gelu::gelu(x.as_mut_slice()?);
        Ok(x)
    }

    fn packs24(&self) -> bool {
        false
    }

    fn pack24(&self, _: &Tensor) -> Result<Option<Tensor>> {
        Err(Error::Unsupported {
            what: "engine for 2:4 sparse products".into(),
            found: self.name().into(),
            supported: "cuda".into(),
        })
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (features, columns) = weight.dims2()?;
        let weight = weight.to_dtype(DType::F32)?;
        let bias = bias.map(|bias| bias.to_dtype(DType::F32)).transpose()?;
        let bias = bias.as_ref().map(Tensor::as_slice).transpose()?;
        let out = linear::linear(x.as_slice()?, weight.as_slice()?, bias, columns, features);
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(features);
        Tensor::from_vec(out, shape)
    }

    fn attention(&self, streams: &[Qkv], head_dim: usize) -> Result<Vec<Tensor>> {
        let (batch, _, width) = streams[0].query.dims3()?;
        let slices = streams
            .iter()
            .map(|stream| {
                let [query, key, value] = [&stream.query, &stream.key, &stream.value].map(Tensor::as_slice);
                let tokens = stream.query.dim(1)?;
                Ok(attention::Stream { query: query?, key: key?, value: value?, tokens })
            })
            .collect::<Result<Vec<_>>>()?;
        let shape = attention::Shape { batch, heads: width / head_dim, head_dim };
        let outputs = attention::attention(&slices, shape).into_iter().zip(&slices);
        outputs.map(|(out, stream)| Tensor::from_vec(out, [batch, stream.tokens, width])).collect()
    }

    fn layer_norm_modulate(&self, x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32) -> Result<Tensor> {
        let (_, tokens, width) = x.dims3()?;
        let (values, scale, shift) = (x.as_slice()?, scale.as_slice()?, shift.as_slice()?);
        Tensor::from_vec(layer_norm::layer_norm_modulate(values, scale, shift, tokens, width, eps), x.dims())
    }

    fn gated_residual(&self, residual: &Tensor, gate: &Tensor, x: &Tensor) -> Result<Tensor> {
        let (_, tokens, width) = x.dims3()?;
        let (values, gate) = (residual.as_slice()?, gate.as_slice()?);
        Tensor::from_vec(gated_residual::gated_residual(values, gate, x.as_slice()?, tokens, width), x.dims())
    }

    fn rms_norm(&self, mut x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        rms_norm::rms_norm(x.as_mut_slice()?, weight.as_slice()?, eps);
        Ok(x)
    }

    fn rope(&self, mut x: Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        let ((_, tokens, width), pairs) = (x.dims3()?, cos.dim(1)?);
        rope::rope(x.as_mut_slice()?, cos.as_slice()?, sin.as_slice()?, tokens, width, 2 * pairs);
        Ok(x)
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn hessian(&self, columns: usize) -> Result<Box<dyn Hessian>> {
        self.hessian_from(Symmetric::zeros(columns))
    }

    fn hessian_from(&self, matrix: Symmetric) -> Result<Box<dyn Hessian>> {
        Ok(Box::new(Accumulator::new(matrix)))
    }
}

fn slices<'a, T: Element>(tensors: &[&'a Tensor]) -> Result<Vec<&'a [T]>> {
    tensors.iter().map(|tensor| tensor.slice_of()).collect()
}
