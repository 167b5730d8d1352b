//! Sparsity patterns: unstructured and N:M.

use std::fmt;
use std::str::FromStr;

/// The share of weights removed, in [0, 1).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Sparsity(f64);

impl Sparsity {
    /// `None` unless `0 <= value < 1`.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..1.0).contains(&value).then_some(Sparsity(value))
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// `int(sparsity * n)`: how many of `n` weights are removed.
    pub fn count(self, n: usize) -> usize {
        (self.0 * n as f64) as usize
    }
}

/// N:M sparsity: of every `of` consecutive weights in a row at most `keep` are nonzero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NM {
    keep: usize,
    of: usize,
}

impl NM {
    /// Largest M.
    pub const MAX_GROUP: usize = 64;

    /// `None` unless `0 < keep < of <= MAX_GROUP`.
    pub fn new(keep: usize, of: usize) -> Option<Self> {
        (keep > 0 && keep < of && of <= Self::MAX_GROUP).then_some(NM { keep, of })
    }

    pub fn keep(self) -> usize {
        self.keep
    }

    pub fn of(self) -> usize {
        self.of
    }
}

impl fmt::Display for NM {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.keep, self.of)
    }
}

impl FromStr for NM {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(keep, of)| NM::new(keep.parse().ok()?, of.parse().ok()?))
            .ok_or_else(|| format!("expected N:M with 0 < N < M <= 64 (keep N of M), such as 2:4, found `{text}`"))
    }
}

/// What is removed from a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    Unstructured(Sparsity),
    NM(NM),
}

impl Pattern {
    /// The share of weights removed.
    pub fn sparsity(self) -> f64 {
        match self {
            Pattern::Unstructured(sparsity) => sparsity.get(),
            Pattern::NM(nm) => 1.0 - nm.keep as f64 / nm.of as f64,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Unstructured(_) => write!(f, "unstructured"),
            Pattern::NM(nm) => write!(f, "{nm}"),
        }
    }
}

/// How many weights the unstructured selection of one block of columns removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountRule {
    /// Blocks together remove exactly `int(s * rows * columns)`: each takes what is due up to its end.
    Exact,
    /// `int(s n) + 1` in every block of `n` weights: the rule of the official SparseGPT and OBS-Diff code.
    Official,
}

impl CountRule {
    /// Weights to remove from columns `start..end` of a matrix with `rows` rows.
    pub fn block_count(self, sparsity: Sparsity, rows: usize, start: usize, end: usize) -> usize {
        let block = rows * (end - start);
        match self {
            CountRule::Exact => sparsity.count(rows * end) - sparsity.count(rows * start),
            CountRule::Official => (sparsity.count(block) + 1).min(block),
        }
    }
}
