//! Numbers between their stored form and `f32`/`f64`/`i64`, in parallel, whatever the alignment.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::header::Dtype;
use crate::ops::Rounding;

/// Elements that one task converts: large enough to hide the scheduling, small enough to balance.
const CHUNK: usize = 1 << 16;

/// Widens little-endian F32, F16 or BF16 `bytes` to `f32` exactly; `None` for other dtypes.
pub fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => map(bytes, f32::from_le_bytes),
        Dtype::BF16 => map(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        Dtype::F16 => map_chunks::<2, _>(bytes, widen_f16),
        _ => return None,
    })
}

/// Widens little-endian F64, F32, F16 or BF16 `bytes` to `f64` exactly; `None` for other dtypes.
pub fn to_f64(bytes: &[u8], dtype: Dtype) -> Option<Vec<f64>> {
    match dtype {
        Dtype::F64 => Some(map(bytes, f64::from_le_bytes)),
        _ => Some(to_f32(bytes, dtype)?.into_iter().map(f64::from).collect()),
    }
}

/// Widens little-endian signed or unsigned integers of up to 32 bits, I64 and BOOL to `i64`; `None` for
/// other dtypes.
pub fn to_i64(bytes: &[u8], dtype: Dtype) -> Option<Vec<i64>> {
    Some(match dtype {
        Dtype::I64 => map(bytes, i64::from_le_bytes),
        Dtype::I32 => map(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::U32 => map(bytes, |b| u32::from_le_bytes(b).into()),
        Dtype::I16 => map(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::U16 => map(bytes, |b| u16::from_le_bytes(b).into()),
        Dtype::I8 => map(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 | Dtype::BOOL => map(bytes, |[b]| b.into()),
        _ => return None,
    })
}

/// Rounds `values` to F32, F16 or BF16 (to nearest, ties to even) as little-endian bytes in `bytes`, whose
/// old content is replaced. Returns false, with `bytes` empty, for other dtypes.
pub fn from_f32(values: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    if rounding(dtype).is_none() {
        return false;
    }
    let size = dtype.bitsize() / 8;
    bytes.resize(values.len() * size, 0);
    bytes.par_chunks_mut(CHUNK * size).zip(values.par_chunks(CHUNK)).for_each(|(to, from)| match dtype {
        Dtype::BF16 => store(from, to, |v| bf16::from_f32(v).to_le_bytes()),
        Dtype::F16 => store(from, to, |v| f16::from_f32(v).to_le_bytes()),
        _ => store(from, to, f32::to_le_bytes),
    });
    true
}

/// How values are rounded when stored as `dtype`; `None` for a dtype that weights are not stored in.
pub fn rounding(dtype: Dtype) -> Option<Rounding> {
    match dtype {
        Dtype::F32 => Some(Rounding::None),
        Dtype::F16 => Some(Rounding::F16),
        Dtype::BF16 => Some(Rounding::BF16),
        _ => None,
    }
}

/// Converts elements of `N` bytes one by one.
fn map<const N: usize, T: Copy + Default + Send>(bytes: &[u8], read: impl Fn([u8; N]) -> T + Sync) -> Vec<T> {
    map_chunks::<N, T>(bytes, |from, to| fill(from, to, &read))
}

/// Converts elements of `N` bytes with `convert`, a chunk per task.
fn map_chunks<const N: usize, T: Copy + Default + Send>(
    bytes: &[u8],
    convert: impl Fn(&[u8], &mut [T]) + Sync,
) -> Vec<T> {
    let mut values = vec![T::default(); bytes.len() / N];
    values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * N)).for_each(|(to, from)| convert(from, to));
    values
}

fn fill<const N: usize, T>(from: &[u8], to: &mut [T], read: impl Fn([u8; N]) -> T) {
    for (value, &bytes) in to.iter_mut().zip(from.as_chunks::<N>().0) {
        *value = read(bytes);
    }
}

fn store<const N: usize>(from: &[f32], to: &mut [u8], write: impl Fn(f32) -> [u8; N]) {
    for (&value, bytes) in from.iter().zip(to.as_chunks_mut::<N>().0) {
        *bytes = write(value);
    }
}

/// `half` converts slices with F16C where the processor has it; the buffer provides the alignment.
fn widen_f16(from: &[u8], to: &mut [f32]) {
    const BLOCK: usize = 256;
    let mut buffer = [f16::ZERO; BLOCK];
    for (bytes, values) in from.chunks(2 * BLOCK).zip(to.chunks_mut(BLOCK)) {
        let buffer = &mut buffer[..values.len()];
        fill(bytes, buffer, f16::from_le_bytes);
        buffer.convert_to_f32_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_value_survives_a_round_trip() {
        let bits: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [Dtype::F16, Dtype::BF16] {
            let values = to_f32(&bits, dtype).expect("a weight dtype");
            let mut back = Vec::new();
            assert!(from_f32(&values, dtype, &mut back));
            let again = to_f32(&back, dtype).expect("a weight dtype");
            for (i, (a, b)) in values.iter().zip(&again).enumerate() {
                assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{dtype} bits {i:#06x}: {a} {b}");
            }
        }
    }

    #[test]
    fn unaligned_bytes_of_several_chunks_convert() {
        let values: Vec<f32> = (0..CHUNK * 2 + 7).map(|i| i as f32 - 3.5).collect();
        let mut bytes = vec![0u8];
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        assert_eq!(to_f32(&bytes[1..], Dtype::F32).as_deref(), Some(&values[..]));
    }

    #[test]
    fn integers_keep_their_sign() {
        assert_eq!(to_i64(&[0xff], Dtype::I8), Some(vec![-1]));
        assert_eq!(to_i64(&[0xff], Dtype::U8), Some(vec![255]));
        assert_eq!(to_i64(&[0xfe, 0xff, 0xff, 0xff], Dtype::I32), Some(vec![-2]));
        assert_eq!(to_i64(&[0; 4], Dtype::F32), None);
    }
}
