//! Warp-level matrix instructions as pure functions on register values.
//!
//! A *slot* is one 32-bit register of every lane of the warp, [`Lanes`]. A fragment is a slice of slots in the
//! order in which the instruction's operand vector names them. Nothing here knows memory or instructions' text.
//!
//! Notation of the PTX ISA, used throughout: `group` is `lane >> 2` (eight groups of four lanes) and `thread` is
//! `lane & 3` (the lane's place in its group).

mod mma;
mod move_matrix;
mod sparse;

pub use mma::{Accumulator, Element, Mma};
pub use move_matrix::{ldmatrix, matrix_row_lane, movmatrix, stmatrix};
pub use sparse::{MetadataError, SparseMma};

/// Lanes of a warp.
pub const WARP: usize = 32;

/// The value of one 32-bit register in every lane.
pub type Lanes = [u32; WARP];
