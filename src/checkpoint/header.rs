//! Safetensors headers: parsed with every offset checked, rendered with deterministic bytes.
//!
//! A file is `u64` header length (little-endian), JSON header, tensor data. The header maps each tensor
//! to its dtype, shape and byte range in the data; the ranges must cover the data exactly, without
//! overlaps or holes.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

pub use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};

use crate::error::{Error, Result};

/// Bytes of the length field in front of the header.
const LENGTH_BYTES: usize = 8;
/// Longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The header key that holds text instead of a tensor.
const METADATA_KEY: &str = "__metadata__";

/// Where a tensor lies in its file and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Byte range in the file (not in the data section).
    pub range: Range<usize>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A parsed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The `__metadata__` entries in file order; empty if there are none.
    pub metadata: Vec<(String, String)>,
    /// Every tensor, in the order of the data.
    pub tensors: Vec<(String, TensorInfo)>,
    /// First byte of the data: length field plus header.
    pub data_start: usize,
}

impl Header {
    /// Parses and checks the header of a whole file; `path` is only for messages.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a header that is too long, cut off, not JSON, names a tensor twice, or
    /// whose offsets do not cover the data exactly; [`Error::Unsupported`] for an unknown dtype.
    pub fn parse(file: &[u8], path: &Path) -> Result<Header> {
        let fail = |problem: String| Error::malformed(path, problem);
        let length: [u8; LENGTH_BYTES] = file.first_chunk().copied().ok_or_else(|| {
            fail(format!("{} bytes are too few for a safetensors file; download it again", file.len()))
        })?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER_BYTES {
            return Err(fail(format!(
                "the header claims {length} bytes, the safetensors format allows {MAX_HEADER_BYTES}; \
                 this is probably not a safetensors file"
            )));
        }
        // Below the limit, so the conversion and the sum cannot overflow.
        let data_start = LENGTH_BYTES + length as usize;
        let json = file.get(LENGTH_BYTES..data_start).ok_or_else(|| {
            fail(format!(
                "the header claims {length} bytes, the file holds {} after the length field; download it again",
                file.len() - LENGTH_BYTES
            ))
        })?;
        let raw: RawHeader =
            serde_json::from_slice(json).map_err(|e| fail(format!("the safetensors header is not valid: {e}")))?;

        let mut seen = HashSet::with_capacity(raw.tensors.len());
        if let Some((name, _)) = raw.tensors.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            return Err(fail(format!("the header names tensor `{name}` twice")));
        }
        let mut tensors = raw
            .tensors
            .into_iter()
            .map(|(name, tensor)| {
                let info = tensor.check(&name, data_start, path)?;
                Ok((name, info))
            })
            .collect::<Result<Vec<_>>>()?;
        tensors.sort_by_key(|(_, info)| (info.range.start, info.range.end));
        check_cover(&tensors, data_start, file.len(), path)?;
        Ok(Header { metadata: raw.metadata, tensors, data_start })
    }
}

/// Renders length field and header: metadata first, then the tensors in the given order with consecutive
/// offsets, padded with spaces to a multiple of 8 bytes.
pub fn render<'a>(
    metadata: &[(String, String)],
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], usize)>,
) -> Vec<u8> {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        let pairs: Vec<_> = metadata.iter().map(|(key, value)| format!("{}:{}", quote(key), quote(value))).collect();
        entries.push(format!("\"{METADATA_KEY}\":{{{}}}", pairs.join(",")));
    }
    let mut offset = 0;
    for (name, dtype, shape, bytes) in tensors {
        let shape: Vec<_> = shape.iter().map(usize::to_string).collect();
        entries.push(format!(
            "{}:{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{offset},{}]}}",
            quote(name),
            shape.join(","),
            offset + bytes
        ));
        offset += bytes;
    }
    let mut json = format!("{{{}}}", entries.join(",")).into_bytes();
    json.resize(json.len().next_multiple_of(LENGTH_BYTES), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}

/// The ranges, sorted, must start where the data starts, follow each other, and end with the file.
fn check_cover(tensors: &[(String, TensorInfo)], data_start: usize, file_len: usize, path: &Path) -> Result<()> {
    let mut end = data_start;
    for (i, (name, info)) in tensors.iter().enumerate() {
        let start = info.range.start;
        if start < end {
            return Err(Error::malformed(
                path,
                format!("the data of tensors `{}` and `{name}` overlap", tensors[i.saturating_sub(1)].0),
            ));
        }
        if start > end {
            return Err(Error::malformed(path, format!("{} unused bytes precede tensor `{name}`", start - end)));
        }
        end = info.range.end;
    }
    if end > file_len {
        let name = tensors.iter().find(|(_, info)| info.range.end > file_len).map_or("", |(name, _)| name);
        return Err(Error::malformed(
            path,
            format!(
                "cut off: the header promises {end} bytes, the file holds {file_len} (tensor `{name}` is the first that is not complete); download it again"
            ),
        ));
    }
    if end < file_len {
        return Err(Error::malformed(
            path,
            format!("the header accounts for {end} bytes, the file holds {file_len}; download it again"),
        ));
    }
    Ok(())
}

/// The header as its JSON says it, unchecked.
struct RawHeader {
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, RawTensor)>,
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl RawTensor {
    fn check(self, name: &str, data_start: usize, path: &Path) -> Result<TensorInfo> {
        let text: serde::de::value::StrDeserializer<serde::de::value::Error> = self.dtype.as_str().into_deserializer();
        let dtype = Dtype::deserialize(text).map_err(|_| Error::Unsupported {
            what: format!("dtype of tensor `{name}` in {}", path.display()),
            found: self.dtype.clone(),
            supported: "the dtypes of the safetensors format (F64, F32, F16, BF16, integers, BOOL, F8 kinds)".into(),
        })?;
        let bits = self.shape.iter().try_fold(dtype.bitsize(), |bits, &size| bits.checked_mul(size));
        let (start, end) = self.data_offsets;
        let bytes = end.checked_sub(start);
        let file_range = data_start.checked_add(start).zip(data_start.checked_add(end));
        match (bits, bytes, file_range) {
            (Some(bits), Some(bytes), Some((start, end))) if bits % 8 == 0 && bits / 8 == bytes => {
                Ok(TensorInfo { dtype, shape: self.shape, range: start..end })
            }
            _ => Err(Error::malformed(
                path,
                format!(
                    "tensor `{name}` of dtype {dtype} and shape {:?} does not fit its offsets [{start}, {end}]",
                    self.shape
                ),
            )),
        }
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { metadata: Vec::new(), tensors: Vec::new() };
                while let Some(key) = map.next_key::<String>()? {
                    if key == METADATA_KEY {
                        header.metadata = map.next_value::<DistinctMap<String>>()?.0;
                    } else {
                        let tensor = map.next_value().map_err(|e| A::Error::custom(format!("tensor `{key}`: {e}")))?;
                        header.tensors.push((key, tensor));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A JSON object in file order that refuses repeated keys.
pub(crate) struct DistinctMap<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for DistinctMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = DistinctMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctMap<V>, A::Error> {
                let mut seen = HashSet::new();
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("key `{key}` appears twice")));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(DistinctMap(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}
