//! The race detector finds what is unordered and accepts what is ordered.

use obsdiff_ptx::race::{Access, AccessKind, Clocks, Conflict, Order, Region, Scope, WarpId};

#[path = "race/atomics.rs"]
mod atomics;
#[path = "race/barriers.rs"]
mod barriers;
#[path = "race/copies.rs"]
mod copies;

const ALL: u32 = u32::MAX;

const READ: AccessKind = AccessKind::Read;
const WRITE: AccessKind = AccessKind::Write;
const ATOMIC: AccessKind = AccessKind::Atomic { order: Order::Relaxed, scope: Scope::Device };

/// A launch with one watched range. Places are given by the tests.
struct Scene {
    clocks: Clocks,
    region: Region,
}

type Outcome = Result<(), Box<Conflict>>;

impl Scene {
    fn new(blocks: u32, threads: u32) -> Self {
        let mut clocks = Clocks::new(threads);
        (0..blocks).for_each(|block| clocks.start_block(block));
        Self { clocks, region: Region::new(1 << 16) }
    }

    fn lane(&mut self, (block, warp, lane): (u32, u32, u32), kind: AccessKind, offset: u32, place: u32) -> Outcome {
        self.bytes((block, warp, lane), kind, offset, 4, place)
    }

    fn bytes(
        &mut self,
        (block, warp, lane): (u32, u32, u32),
        kind: AccessKind,
        offset: u32,
        bytes: u32,
        place: u32,
    ) -> Outcome {
        let access = Access { warp: WarpId { block, warp }, kind, bytes, place };
        self.region.access_lane(&mut self.clocks, access, lane, offset)
    }

    /// Lane l accesses four bytes at `first + stride * l`.
    fn warp(&mut self, (block, warp): (u32, u32), kind: AccessKind, first: u32, stride: u32, place: u32) -> Outcome {
        let access = Access { warp: WarpId { block, warp }, kind, bytes: 4, place };
        let offsets = std::array::from_fn(|lane| first + stride * lane as u32);
        self.region.access_warp(&mut self.clocks, access, ALL, &offsets)
    }

    fn sync(&mut self, block: u32, warps: &[u32]) {
        for &warp in warps {
            self.clocks.barrier_arrive(WarpId { block, warp }, 0);
        }
        self.clocks.barrier_complete(block, 0, warps);
    }

    fn sync_warp(&mut self, warp: u32, mask: u32) {
        self.clocks.warp_barrier(WarpId { block: 0, warp }, mask);
    }

    fn fence(&mut self, block: u32, warp: u32, mask: u32, scope: Scope) {
        self.clocks.fence(WarpId { block, warp }, mask, scope);
    }
}

#[track_caller]
fn races(outcome: Outcome) -> Conflict {
    *outcome.expect_err("a race went unnoticed")
}

#[track_caller]
fn clean(outcome: Outcome) {
    if let Err(conflict) = outcome {
        panic!("a false alarm: {conflict:?}");
    }
}
