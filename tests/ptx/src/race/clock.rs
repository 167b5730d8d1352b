//! What each lane knows to have happened.

/// A warp of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WarpId {
    /// Linear block index.
    pub block: u32,
    /// Index in the block.
    pub warp: u32,
}

/// How far a fence or a strong access reaches. `.cluster` counts as `Block`, since a launch has no clusters; `.gpu`
/// and `.sys` are `Device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `.cta`
    Block,
    /// `.gpu`, `.sys`
    Device,
}

/// Ordering of a strong access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// `.relaxed`, `.volatile`, and atomics without a modifier.
    Relaxed,
    Acquire,
    Release,
    /// `.acq_rel`
    AcquireRelease,
}

/// The happens-before state of one launch.
#[derive(Debug)]
pub struct Clocks {}

impl Clocks {
    /// A launch whose blocks have `warps` warps.
    pub fn new(warps: u32) -> Self {
        unimplemented!()
    }

    /// A block becomes resident. Accesses and synchronisation of other blocks panic.
    pub fn start_block(&mut self, block: u32) {
        unimplemented!()
    }

    /// The block has exited: its state is dropped. What it wrote stays unordered with other blocks' accesses
    /// unless they synchronised.
    pub fn finish_block(&mut self, block: u32) {
        unimplemented!()
    }

    /// `bar.warp.sync mask`: call once, when all lanes of `mask` have arrived.
    pub fn warp_barrier(&mut self, warp: WarpId, mask: u32) {
        unimplemented!()
    }

    /// The warp reaches barrier `barrier` (0..16) of its block, by `bar.sync`, `bar.red` or `bar.arrive`: what its
    /// lanes did before is published to those who wait there.
    pub fn barrier_arrive(&mut self, warp: WarpId, barrier: u32) {
        unimplemented!()
    }

    /// Barrier `barrier` of `block` completes: the warps of `waiting` (those at `bar.sync` or `bar.red`, not those
    /// at `bar.arrive`) learn what all arrivals published, and their own lanes learn of each other. The barrier is
    /// free for its next use.
    pub fn barrier_complete(&mut self, block: u32, barrier: u32, waiting: &[u32]) {
        unimplemented!()
    }

    /// `membar`, `fence.acq_rel`, `fence.sc` by the lanes of `mask`.
    pub fn fence(&mut self, warp: WarpId, mask: u32, scope: Scope) {
        unimplemented!()
    }
}
