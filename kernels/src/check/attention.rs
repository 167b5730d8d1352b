//! Joint attention against float64.
//!
//! Error of a value in units of what its computation may add up to. With L the largest sum of |q k| / sqrt(head_dim)
//! and A the weighted mean of |v|: a score is a chain of n products of matrices, each cutting its sum off by up to
//! 2^-23 of L, scaled and turned into a power of two with a few roundings more, so it is off by (n + 4) 2^-22 L, and
//! so is its weight, relatively; weights and their sum together twice that. Each tile's rescaling rounds weights and
//! sum once; P is rounded to the element (f16: values below 2^-14 absolutely), or split into 3xTF32; P V is a chain of
//! products, too. Last, the result is rounded.

use std::fmt;

use super::placed::{ELEMENTS, Expected, Host, Layout, Placed, compare, rounding};
use super::random::Random;
use super::{Outcome, Scale};
use crate::attention::{Stream, attention};
use crate::device::Device;
use crate::error::Result;
use crate::matrix::Element;
use crate::reference;

const KERNEL: &str = "attention";

/// Parts that 3xTF32 leaves out of a product: 2^-22 for the product of the low parts and for rounding each of them.
const SPLIT_ERROR: f64 = 3.0 / 4_194_304.0;

#[derive(Debug, Clone)]
struct Case {
    element: Element,
    batch: usize,
    heads: usize,
    head_dim: usize,
    /// Of each stream.
    tokens: Vec<usize>,
    /// Standard deviation of queries and keys.
    spread: f64,
    /// Values between rows, before the first row, too.
    gap: usize,
    /// Whether the last stream's result is wanted.
    last_out: bool,
    /// Whether the first key holds NaN.
    poisoned: bool,
    /// Queries per stream that are compared, at most.
    samples: usize,
}

impl Case {
    fn new(element: Element, head_dim: usize, heads: usize, tokens: &[usize]) -> Self {
        Case {
            element,
            batch: 1,
            heads,
            head_dim,
            tokens: tokens.to_vec(),
            spread: 1.0,
            gap: 0,
            last_out: true,
            poisoned: false,
            samples: usize::MAX,
        }
    }

    fn keys(&self) -> usize {
        self.tokens.iter().sum()
    }

    /// What an output may be off by before it is rounded.
    fn error(&self, magnitude: f64, largest_score: f64, largest_value: f64) -> f64 {
        let (keys, channels) = (self.keys() as f64, self.head_dim as f64);
        let (depth, split) = match self.element {
            Element::F32 => (8.0 / 3.0, SPLIT_ERROR),
            Element::F16 | Element::Bf16 => (16.0, 0.0),
        };
        let (unit, smallest) = rounding(self.element);
        let (weight_rounding, lost_weights) = match self.element {
            Element::F32 => (split, 0.0),
            Element::F16 | Element::Bf16 => (unit, keys * smallest * largest_value),
        };
        let score = ((channels / depth).ceil() + 4.0) * 2f64.powi(-22) * largest_score + split * largest_score;
        let tiles = (keys / 32.0).ceil() + self.tokens.len() as f64;
        let sums = ((keys / depth).ceil() + tiles + 4.0) * 2f64.powi(-23);
        magnitude * (2.0 * score + weight_rounding + sums) + lost_weights
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { element, batch, heads, head_dim, tokens, spread, gap, last_out, poisoned, .. } = self;
        write!(f, "{} batch {batch}, {heads} heads of {head_dim}, tokens {tokens:?}", element.name())?;
        if *spread != 1.0 {
            write!(f, ", spread {spread}")?;
        }
        if *gap > 0 {
            write!(f, ", rows {gap} apart")?;
        }
        let marks = [(!last_out, ", last result not wanted"), (*poisoned, ", a key of NaN")];
        marks.into_iter().filter(|mark| mark.0).try_for_each(|mark| f.write_str(mark.1))
    }
}

/// Every case of `scale`.
///
/// # Errors
/// [`crate::Error::Device`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let cases = match scale {
        Scale::Small => small_cases(),
        Scale::Full => full_cases(),
    };
    cases.into_iter().enumerate().try_for_each(|(seed, case)| check(device, seed as u64, &case, report))
}

fn small_cases() -> Vec<Case> {
    // Tiles end at 32, 48 or 64 keys and at 64 or 128 queries; a warp has 16 or 32 of them.
    let streams: [&[usize]; 8] = [&[1], &[2, 1], &[63, 49], &[64, 48, 1], &[65, 47], &[130], &[31, 33, 2], &[129, 32]];
    let mut cases = Vec::new();
    for element in ELEMENTS {
        for (i, head_dim) in [8, 16, 24, 32, 40, 64, 72, 128].into_iter().enumerate() {
            for tokens in [streams[i % streams.len()], streams[(i + 3) % streams.len()]] {
                cases.push(Case { gap: 8 * (i % 2), ..Case::new(element, head_dim, 1 + i % 3, tokens) });
            }
        }
        for tokens in streams {
            cases.push(Case { batch: 2, ..Case::new(element, 16, 1, tokens) });
        }
        cases.push(Case { spread: 12.0, ..Case::new(element, 64, 1, &[33, 17]) });
        cases.push(Case { last_out: false, ..Case::new(element, 16, 2, &[20, 70]) });
        cases.push(Case { poisoned: true, ..Case::new(element, 16, 1, &[3, 5]) });
        cases.push(Case { batch: 2, ..Case::new(element, 32, 1, &[0, 7, 0]) });
    }
    cases
}

fn full_cases() -> Vec<Case> {
    let sampled = |case: Case| Case { samples: 48, ..case };
    let mut cases = Vec::new();
    for element in ELEMENTS {
        // FLUX.1 at 1024 x 1024, SD3.5-large with guidance.
        cases.push(sampled(Case::new(element, 128, 24, &[4096, 512])));
        cases.push(sampled(Case { batch: 2, ..Case::new(element, 64, 38, &[4096, 333]) }));
        cases.push(sampled(Case { spread: 4.0, ..Case::new(element, 128, 3, &[1023, 77, 1]) }));
    }
    cases
}

/// Host and device tensors of one stream.
struct Tensors {
    query: Host,
    key: Host,
    value: Host,
    placed: [Placed; 3],
    out: Option<Placed>,
}

fn check(device: &Device, seed: u64, case: &Case, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(seed);
    let layout = Layout { lead: case.gap, gap: case.gap };
    let width = case.heads * case.head_dim;
    let mut streams = Vec::new();
    for (number, &tokens) in case.tokens.iter().enumerate() {
        let rows = case.batch * tokens;
        let mut random = |spread| Host::random(&mut random, case.element, rows, width, spread);
        let (query, mut key, value) = (random(case.spread), random(case.spread), random(1.0));
        if case.poisoned && number == 0 {
            key.values[..width].fill(f64::NAN);
        }
        let placed =
            [query.place_input(device, layout)?, key.place_input(device, layout)?, value.place_input(device, layout)?];
        let wanted = case.last_out || number + 1 < case.tokens.len();
        let out = wanted.then(|| Placed::unwritten(device, case.element, rows, width, layout)).transpose()?;
        streams.push(Tensors { query, key, value, placed, out });
    }
    let mut views: Vec<Stream> = streams
        .iter_mut()
        .map(|stream| {
            let [query, key, value] = &stream.placed;
            let out = stream.out.as_mut().map(Placed::matrix_mut);
            Stream { query: query.matrix(), key: key.matrix(), value: value.matrix(), out }
        })
        .collect();
    attention(device, &mut views, case.batch, case.head_dim)?;
    for (number, stream) in streams.iter().enumerate() {
        let Some(out) = &stream.out else { continue };
        let expected = expected(case, &streams, number);
        report(compare(KERNEL, format!("{case}, stream {number}"), out, expected.into_iter())?);
    }
    Ok(())
}

/// The values of stream `number` that are compared, by their place.
fn expected(case: &Case, streams: &[Tensors], number: usize) -> Vec<(usize, Expected)> {
    let (own, tokens) = (&streams[number], case.tokens[number]);
    let largest = |values: &[f64]| values.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    let largest_value = streams.iter().map(|stream| largest(&stream.value.values)).fold(0.0, f64::max);
    let queries = case.batch * tokens * case.heads;
    let mut expected = Vec::new();
    // An odd step meets every position within a tile.
    let step = (queries / case.samples).max(1) | 1;
    for index in (0..queries).step_by(step) {
        let (row, head) = (index / case.heads, index % case.heads);
        let channels = head * case.head_dim..(head + 1) * case.head_dim;
        let batch = row / tokens;
        let pairs = streams.iter().zip(&case.tokens).flat_map(|(stream, &tokens)| {
            let channels = channels.clone();
            (batch * tokens..(batch + 1) * tokens)
                .map(move |row| (&stream.key.row(row)[channels.clone()], &stream.value.row(row)[channels.clone()]))
        });
        let attended = reference::attention::attention(&own.query.row(row)[channels.clone()], pairs);
        for (channel, (&value, &magnitude)) in attended.values.iter().zip(&attended.magnitudes).enumerate() {
            let error = case.error(magnitude, attended.largest_score, largest_value);
            let place = row * case.heads * case.head_dim + channels.start + channel;
            expected.push((place, Expected::rounded(case.element, value, error)));
        }
    }
    expected
}
