//! Rows of tokens, in chunks that pass through a layer together.

use crate::error::{Error, Result};
use crate::ops::{self, Tensor};

/// Tokens of a chunk: enough that a matrix product is at its full speed, few enough that what a layer of the largest
/// encoder holds between its products stays near 200 MiB.
const CHUNK_TOKENS: usize = 2048;

/// Rows of `tokens` tokens that make a chunk.
pub fn rows_per_chunk(tokens: usize) -> usize {
    (CHUNK_TOKENS / tokens.max(1)).max(1)
}

/// The number of tokens, which every row of `ids` must have.
///
/// # Errors
/// [`Error::Runtime`] if there are none, or different numbers of them.
pub fn tokens_per_row(ids: &[Vec<u32>]) -> Result<usize> {
    let tokens = ids.first().map_or(0, Vec::len);
    if tokens == 0 || ids.iter().any(|row| row.len() != tokens) {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        return Err(Error::Runtime(format!("token rows must have one positive length, found {lengths:?}")));
    }
    Ok(tokens)
}

/// The chunks one behind the other along their first axis; each is freed as soon as it is copied.
///
/// # Errors
/// [`Error::NonFinite`] if a value is NaN or infinite; `what` says whose they are. [`Error::Runtime`] if there is no
/// chunk.
pub fn join(chunks: Vec<Tensor>, what: &str) -> Result<Tensor> {
    let first = chunks.first().ok_or_else(|| Error::Runtime(format!("{what}: no rows")))?;
    let mut shape = first.dims().to_vec();
    shape[0] = chunks.iter().map(|chunk| chunk.dims()[0]).sum();
    let mut values = Vec::with_capacity(shape.iter().product());
    for chunk in chunks {
        if !ops::is_finite(&chunk)? {
            return Err(Error::NonFinite {
                tensor: what.into(),
                found: "NaN or infinity".into(),
                context: "although its weights and inputs are finite".into(),
            });
        }
        values.extend_from_slice(chunk.as_slice()?);
    }
    Tensor::from_vec(values, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_different_length_and_none_are_refused() {
        assert_eq!(tokens_per_row(&[vec![1, 2], vec![3, 4]]).unwrap(), 2);
        for ids in [vec![], vec![vec![]], vec![vec![1], vec![1, 2]]] {
            assert!(tokens_per_row(&ids).is_err(), "{ids:?}");
        }
    }

    #[test]
    fn chunks_are_never_empty() {
        assert_eq!([1, 77, 256, 2048, 5000].map(rows_per_chunk), [2048, 26, 8, 1, 1]);
    }

    #[test]
    fn joining_keeps_the_order_and_refuses_nan() {
        let chunk = |values: &[f32]| Tensor::from_vec(values.to_vec(), [values.len() / 2, 2]).unwrap();
        let joined = join(vec![chunk(&[1.0, 2.0, 3.0, 4.0]), chunk(&[5.0, 6.0])], "x").unwrap();
        assert_eq!((joined.dims(), joined.as_slice().unwrap()), (&[3, 2][..], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..]));
        assert_eq!(join(vec![chunk(&[1.0, f32::NAN])], "x").unwrap_err().exit_code(), 4);
    }
}
