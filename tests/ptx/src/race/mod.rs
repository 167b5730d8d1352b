//! Happens-before race detection at byte granularity.
//!
//! [`Clocks`] holds what every lane of every resident block knows to have happened; the synchronising instructions
//! of the interpreter are its methods. A [`Region`] watches one address range (the shared memory of one block, or
//! one global allocation) and compares each access with the earlier ones under those clocks.
//!
//! # What orders two accesses
//!
//! - program order of one lane;
//! - `bar.warp.sync` among the lanes of its mask (no other `.sync` warp collective orders memory: shuffles, votes
//!   and matrix products do not);
//! - barriers of a block (`bar.sync`, `bar.arrive`, `bar.red`), each warp counted as a whole;
//! - a release observed by an acquire: a fence then a strong write, seen by a strong read followed by a fence, or
//!   the `.release` and `.acquire` forms, with the scopes of both taken into account (PTX ISA 8.9). A fence also
//!   covers what its warp learned at barriers before it, and a barrier passes on what was fenced before it: so
//!   "every thread fences, barrier, one thread increments" is accepted, as it works on hardware;
//! - an atomic and the strong write whose value it changes: whoever is ordered after the atomic is ordered after that
//!   write, so the last of several blocks that count themselves may reset the counter with a weak store;
//! - the end of the kernel ([`Region::clear`] with a new [`Clocks`]).
//!
//! # What is a race
//!
//! Two unordered accesses to one byte, at least one a write, unless both are strong (atomic, volatile, relaxed,
//! acquire, release) in scopes that include each other. Two lanes of one instruction that write one byte race, also
//! if they write the same value: which one lands is undefined, and equal values today are no promise.
//!
//! # cp.async
//!
//! Between [`Region::async_begin`] and [`Region::async_complete`] any access to the destination by anyone, the
//! issuing lane included, is a conflict. After completion the bytes count as written by the issuing lane at that
//! moment, so others need a barrier. The source counts as read when the copy is issued: record it as a plain read.

mod cell;
mod clock;
mod knowledge;
mod region;

pub use clock::{Clocks, Order, Scope, WarpId};
pub use region::{Access, AccessKind, AsyncWrite, Conflict, Party, Region};
