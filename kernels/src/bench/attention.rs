//! `attention` at the sizes of SD3.5-large and FLUX.1.

use super::shapes::{FLUX_TOKENS, SD35_TOKENS};
use super::{Measurement, Timer};
use crate::Buffer;
use crate::attention::{Stream, attention};
use crate::error::Result;
use crate::matrix::{Matrix, MatrixMut};
use half::bf16;

/// See the module.
///
/// # Errors
/// [`crate::Error::Device`], [`crate::Error::OutOfMemory`].
pub fn run(timer: &Timer, report: &mut dyn FnMut(Measurement)) -> Result<()> {
    for (model, tokens, heads, head_dim) in [("sd3.5-large", SD35_TOKENS, 38, 64), ("flux.1", FLUX_TOKENS, 24, 128)] {
        let width = heads * head_dim;
        let inputs = [(); 3].map(|()| timer.random_bf16(tokens * width));
        let [query, key, value] = inputs;
        let (query, key, value) = (query?, key?, value?);
        let mut out: Buffer<bf16> = Buffer::uninitialised(timer.device(), tokens * width, "an attention's result")?;
        let time = timer.time(&mut || {
            let stream = Stream {
                query: Matrix::from_buffer(&query, tokens, width)?,
                key: Matrix::from_buffer(&key, tokens, width)?,
                value: Matrix::from_buffer(&value, tokens, width)?,
                out: Some(MatrixMut::from_buffer(&mut out, tokens, width)?),
            };
            attention(timer.device(), &mut [stream], 1, head_dim)
        })?;
        report(Measurement {
            kernel: "attention",
            case: format!("bf16 {model}, {tokens} tokens, {heads} heads of {head_dim}"),
            time,
            flops: 4.0 * (tokens * tokens * width) as f64,
            bytes: 8.0 * (tokens * width) as f64,
            peer: None,
        });
    }
    Ok(())
}
