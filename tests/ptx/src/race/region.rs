//! The accesses to one address range.

use super::clock::{Clocks, Order, Scope, WarpId};

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// A weak load.
    Read,
    /// A weak store.
    Write,
    /// `ld.{volatile,relaxed,acquire}`
    StrongRead { order: Order, scope: Scope },
    /// `st.{volatile,relaxed,release}`
    StrongWrite { order: Order, scope: Scope },
    /// `atom`
    Atomic { order: Order, scope: Scope },
    /// `red`: an atomic that returns nothing and so acquires nothing.
    Reduce { order: Order, scope: Scope },
}

/// One memory instruction of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub warp: WarpId,
    pub kind: AccessKind,
    /// Bytes per lane: 1, 2, 4, 8, 16 or 32.
    pub bytes: u32,
    /// What the caller wants to be told about in a conflict: the index of the instruction.
    pub place: u32,
}

/// One side of a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    pub warp: WarpId,
    pub lane: u32,
    pub place: u32,
    /// Whether this side writes.
    pub writes: bool,
    /// Whether this side is strong (atomic, volatile, relaxed, acquire, release).
    pub strong: bool,
    /// Whether this side is a `cp.async` that is still in flight.
    pub in_flight: bool,
}

/// Two accesses that nothing orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// First byte of the region that both touch.
    pub offset: u32,
    /// The one that was recorded.
    pub earlier: Party,
    /// The one that was refused.
    pub later: Party,
}

/// A `cp.async` of one lane in flight, to be given back to [`Region::async_complete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsyncWrite {
    warp: WarpId,
    lane: u32,
    offset: u32,
    bytes: u32,
    place: u32,
}

/// The recorded accesses to one address range.
#[derive(Debug)]
pub struct Region {}

impl Region {
    /// Watches `bytes` bytes that nobody has touched. Memory is taken as bytes are touched.
    pub fn new(bytes: u32) -> Self {
        unimplemented!()
    }

    /// Forgets all accesses: the boundary between two launches, or between two blocks that use the region in turn.
    pub fn clear(&mut self) {
        unimplemented!()
    }

    /// The lanes of `mask` access `offsets[lane]..+ bytes` in one instruction, in the order of their lanes. The
    /// ranges must lie inside the region (the caller has checked them) and be aligned to `bytes`, or to 4 if that
    /// is less. Strong accesses acquire and release in `clocks`. After an `Err` the region is not used further.
    pub fn access_warp(
        &mut self,
        clocks: &mut Clocks,
        access: Access,
        mask: u32,
        offsets: &[u32; 32],
    ) -> Result<(), Box<Conflict>> {
        unimplemented!()
    }

    /// [`Region::access_warp`] for one lane.
    pub fn access_lane(
        &mut self,
        clocks: &mut Clocks,
        access: Access,
        lane: u32,
        offset: u32,
    ) -> Result<(), Box<Conflict>> {
        unimplemented!()
    }

    /// `cp.async` by `lane` starts to write `offset..offset + bytes`.
    pub fn async_begin(
        &mut self,
        clocks: &Clocks,
        warp: WarpId,
        lane: u32,
        offset: u32,
        bytes: u32,
        place: u32,
    ) -> Result<AsyncWrite, Box<Conflict>> {
        unimplemented!()
    }

    /// The lane's `cp.async.wait_group` (or `wait_all`) covers `write`.
    pub fn async_complete(&mut self, clocks: &Clocks, write: AsyncWrite) {
        unimplemented!()
    }
}
