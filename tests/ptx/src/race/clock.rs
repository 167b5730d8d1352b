//! What each lane knows to have happened, and the instructions that spread that knowledge.
//!
//! Time is counted per warp, in epochs: an access is stamped with the current epoch of its warp, and whatever
//! publishes earlier accesses starts a new one. All lanes of a converged warp know the same, so a warp usually
//! holds one [`LaneClock`] for all of them; it holds 32 from the moment that some lanes synchronise alone (a fence
//! or an acquire by one lane, `bar.warp.sync` of a part) until the next synchronisation of the whole warp.

use std::collections::HashMap;

use super::knowledge::{Knowledge, LANES};

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

impl Order {
    fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcquireRelease)
    }

    fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcquireRelease)
    }
}

/// What one lane has seen: accesses that happen before its next one.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// For each warp of the lane's own block, the epoch up to which all its lanes are known.
    pub near: Vec<u32>,
    /// Warps of other blocks, and single lanes.
    pub other: Knowledge,
}

impl View {
    fn join(&mut self, view: &View) {
        for (mine, theirs) in self.near.iter_mut().zip(&view.near) {
            *mine = (*mine).max(*theirs);
        }
        self.other.join(&view.other);
    }

    /// Adds knowledge in launch-wide numbers; `first` is the number of the block's first warp.
    fn learn(&mut self, known: &Knowledge, first: u32) {
        self.other.join(known);
        for (warp, epoch) in known.warps() {
            if let Some(mine) = self.near.get_mut(warp.wrapping_sub(first) as usize) {
                *mine = (*mine).max(epoch);
            }
        }
        self.other.drop_covered(&self.near, first);
    }

    /// The same in launch-wide numbers.
    fn knowledge(&self, first: u32) -> Knowledge {
        let mut known = self.other.clone();
        for (warp, &epoch) in self.near.iter().enumerate() {
            known.learn_warp(first + warp as u32, epoch);
        }
        known
    }
}

/// What a fence made visible to those who observe a later strong write.
#[derive(Clone, Debug, Default)]
struct Fenced {
    known: Knowledge,
    /// The lane's own accesses, up to this epoch.
    own: u32,
}

/// The clock of one lane, or of all lanes of a converged warp.
#[derive(Clone, Debug)]
pub(super) struct LaneClock {
    pub view: View,
    /// By [`Scope`]; the wider fence implies the narrower.
    fenced: [Fenced; 2],
    /// Released knowledge that relaxed reads observed; a fence of at least the index's scope acquires it.
    pending: [Knowledge; 2],
}

impl LaneClock {
    fn new(warps: usize) -> Self {
        Self {
            view: View { near: vec![0; warps], other: Knowledge::default() },
            fenced: Default::default(),
            pending: Default::default(),
        }
    }

    fn join(&mut self, clock: &LaneClock) {
        self.view.join(&clock.view);
        for scope in 0..2 {
            self.fenced[scope].known.join(&clock.fenced[scope].known);
            self.pending[scope].join(&clock.pending[scope]);
        }
    }

    fn fence(&mut self, scope: Scope, first: u32, now: u32) {
        for pending in &mut self.pending[..=scope as usize] {
            if !pending.is_empty() {
                self.view.learn(pending, first);
                pending.clear();
            }
        }
        let known = self.view.knowledge(first);
        for fenced in &mut self.fenced[..=scope as usize] {
            *fenced = Fenced { known: known.clone(), own: now };
        }
    }

    /// What a relaxed write publishes in `scope`.
    fn released(&self, scope: Scope, thread: u32) -> Knowledge {
        let Fenced { known, own } = &self.fenced[scope as usize];
        let mut known = known.clone();
        known.learn_lane(thread, *own);
        known
    }
}

/// The clock of a warp.
#[derive(Debug)]
pub(super) struct WarpClock {
    /// The epoch that stamps the next access.
    pub now: u32,
    /// What every lane knows, if all know the same.
    shared: LaneClock,
    /// What each lane knows, if they differ.
    lanes: Option<Box<[LaneClock]>>,
    /// Lanes that exist.
    all: u32,
    /// Launch-wide number, and that of the first warp of the block.
    pub number: u32,
    pub first: u32,
}

impl WarpClock {
    /// The one view of all lanes, if they agree.
    pub fn converged(&self) -> Option<&View> {
        self.lanes.is_none().then_some(&self.shared.view)
    }

    pub fn view(&self, lane: u32) -> &View {
        match &self.lanes {
            None => &self.shared.view,
            Some(lanes) => &lanes[lane as usize].view,
        }
    }

    fn thread(&self, lane: u32) -> u32 {
        self.number * LANES + lane
    }

    fn clock(&self, lane: u32) -> &LaneClock {
        match &self.lanes {
            None => &self.shared,
            Some(lanes) => &lanes[lane as usize],
        }
    }

    /// The lane's own clock, to change alone.
    fn clock_mut(&mut self, lane: u32) -> &mut LaneClock {
        let shared = &self.shared;
        let lanes = self.lanes.get_or_insert_with(|| vec![shared.clone(); LANES as usize].into());
        &mut lanes[lane as usize]
    }

    /// What the lanes of `mask` know together: their own accesses up to now included.
    fn gather(&self, mask: u32) -> LaneClock {
        let whole = mask & self.all == self.all;
        let mut together = match &self.lanes {
            None => self.shared.clone(),
            Some(lanes) => {
                let mut members = lanes_of(mask).map(|lane| &lanes[lane as usize]);
                let mut together = members.next().expect("a barrier has participants").clone();
                members.for_each(|lane| together.join(lane));
                together
            }
        };
        if whole {
            together.view.near[(self.number - self.first) as usize] = self.now;
        } else {
            lanes_of(mask).for_each(|lane| together.view.other.learn_lane(self.thread(lane), self.now));
        }
        for scope in 0..2 {
            let known = &mut together.fenced[scope].known;
            if whole && self.lanes.is_none() {
                known.learn_warp(self.number, self.shared.fenced[scope].own);
            } else {
                let own = |lane| self.clock(lane).fenced[scope].own;
                lanes_of(mask).for_each(|lane| known.learn_lane(self.thread(lane), own(lane)));
            }
        }
        together.view.other.drop_covered(&together.view.near, self.first);
        together
    }

    /// Gives the lanes of `mask` the clock `known`. Each keeps what it fenced of its own.
    fn adopt(&mut self, mask: u32, known: LaneClock) {
        if mask & self.all == self.all {
            // The gathered fences hold the own accesses of every lane.
            self.shared = known;
            self.shared.fenced.iter_mut().for_each(|fenced| fenced.own = 0);
            self.lanes = None;
            return;
        }
        for lane in lanes_of(mask) {
            let clock = self.clock_mut(lane);
            let own = clock.fenced.each_ref().map(|fenced| fenced.own);
            *clock = known.clone();
            for (fenced, own) in clock.fenced.iter_mut().zip(own) {
                fenced.own = own;
            }
        }
    }
}

/// The lanes of a mask in ascending order.
pub(super) fn lanes_of(mut mask: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lane = (mask != 0).then(|| mask.trailing_zeros());
        mask &= mask.wrapping_sub(1);
        lane
    })
}

/// What has been released at one memory location.
#[derive(Debug, Default)]
pub(super) struct Location {
    /// Visible to everyone.
    device: Knowledge,
    /// Visible within one block.
    blocks: Vec<(u32, Knowledge)>,
}

/// A strong access as the clocks see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StrongAccess {
    /// Observes a value and so may acquire.
    pub reads: bool,
    /// May release.
    pub writes: bool,
    /// Reads and writes in one step, and so continues a release sequence instead of ending it.
    pub modifies: bool,
    pub order: Order,
    pub scope: Scope,
}

#[derive(Debug)]
struct BlockClock {
    warps: Vec<WarpClock>,
    /// What arrivals published at each barrier in its present use.
    barriers: HashMap<u32, LaneClock>,
}

/// The happens-before state of one launch.
#[derive(Debug)]
pub struct Clocks {
    threads: u32,
    /// By linear block index; only resident blocks are there.
    blocks: Vec<Option<BlockClock>>,
}

impl Clocks {
    /// A launch whose blocks have `threads` threads.
    pub fn new(threads: u32) -> Self {
        Self { threads, blocks: Vec::new() }
    }

    /// Warps per block.
    pub(super) fn warps(&self) -> u32 {
        self.threads.div_ceil(LANES)
    }

    /// A block becomes resident. Accesses and synchronisation of other blocks panic.
    pub fn start_block(&mut self, block: u32) {
        let count = self.warps();
        let first = block * count;
        let warp = |warp: u32| WarpClock {
            now: 1,
            shared: LaneClock::new(count as usize),
            lanes: None,
            all: u32::MAX >> (LANES - (self.threads - LANES * warp).min(LANES)),
            number: first + warp,
            first,
        };
        let warps = (0..count).map(warp).collect();
        if self.blocks.len() <= block as usize {
            self.blocks.resize_with(block as usize + 1, || None);
        }
        self.blocks[block as usize] = Some(BlockClock { warps, barriers: HashMap::new() });
    }

    /// The block has exited: its state is dropped. What it wrote stays unordered with other blocks' accesses
    /// unless they synchronised.
    pub fn finish_block(&mut self, block: u32) {
        self.blocks[block as usize] = None;
    }

    /// `bar.warp.sync mask`: call once, when all lanes of `mask` have arrived. `mask` names the lanes that take
    /// part; lanes beyond the block's last thread do not matter.
    pub fn warp_barrier(&mut self, warp: WarpId, mask: u32) {
        let clock = self.warp_mut(warp);
        let unfenced = clock.shared.fenced.iter().all(|fenced| fenced.own == 0);
        if clock.lanes.is_none() && mask & clock.all == clock.all && unfenced {
            clock.shared.view.near[warp.warp as usize] = clock.now;
            clock.now += 1;
            return;
        }
        let mask = mask & clock.all;
        let known = clock.gather(mask);
        clock.adopt(mask, known);
        clock.now += 1;
    }

    /// The warp reaches barrier `barrier` (0..16) of its block, by `bar.sync`, `bar.red` or `bar.arrive`: what its
    /// lanes did before is published to those who wait there. A barrier counts a warp as a whole, with lanes that
    /// have exited.
    pub fn barrier_arrive(&mut self, warp: WarpId, barrier: u32) {
        let block = self.block_mut(warp.block);
        let clock = &mut block.warps[warp.warp as usize];
        let known = clock.gather(clock.all);
        clock.now += 1;
        match block.barriers.entry(barrier) {
            std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().join(&known),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(known);
            }
        }
    }

    /// Barrier `barrier` of `block` completes: the warps of `waiting` (those at `bar.sync` or `bar.red`, not those
    /// at `bar.arrive`) learn what all arrivals published, and their own lanes learn of each other. The barrier is
    /// free for its next use.
    pub fn barrier_complete(&mut self, block: u32, barrier: u32, waiting: &[u32]) {
        let block = self.block_mut(block);
        let Some(mut known) = block.barriers.remove(&barrier) else {
            panic!("barrier {barrier} completes without arrivals");
        };
        if let Some(warp) = block.warps.first() {
            known.view.other.drop_covered(&known.view.near, warp.first);
        }
        for &warp in waiting {
            let clock = &mut block.warps[warp as usize];
            let reached = known.view.near[warp as usize];
            assert_eq!(reached, clock.now - 1, "warp {warp} waits at barrier {barrier} without having arrived");
            clock.adopt(clock.all, known.clone());
        }
    }

    /// `membar`, `fence.acq_rel`, `fence.sc` by the lanes of `mask`.
    pub fn fence(&mut self, warp: WarpId, mask: u32, scope: Scope) {
        let clock = self.warp_mut(warp);
        let (first, now) = (clock.first, clock.now);
        if clock.lanes.is_none() && mask & clock.all == clock.all {
            clock.shared.fence(scope, first, now);
        } else {
            for lane in lanes_of(mask & clock.all) {
                clock.clock_mut(lane).fence(scope, first, now);
            }
        }
        clock.now += 1;
    }

    /// One lane's strong access to `location`: it learns what was released there and releases what it may.
    pub(super) fn strong(&mut self, warp: WarpId, lane: u32, location: &mut Location, access: StrongAccess) {
        let clock = self.warp_mut(warp);
        let (first, thread) = (clock.first, clock.thread(lane));
        let device = access.scope == Scope::Device;
        if access.reads {
            let near = location.blocks.iter().find(|entry| entry.0 == warp.block).map(|entry| &entry.1);
            let far = Some(&location.device).filter(|_| device);
            for (scope, known) in [near, far].into_iter().enumerate() {
                let Some(known) = known.filter(|known| !known.is_empty()) else { continue };
                if access.order.acquires() {
                    clock.clock_mut(lane).view.learn(known, first);
                } else {
                    clock.clock_mut(lane).pending[scope].join(known);
                }
            }
        }
        if access.writes {
            let [near, far] = if access.order.releases() {
                let mut known = clock.view(lane).knowledge(first);
                known.learn_lane(thread, clock.now);
                clock.now += 1;
                [known.clone(), known]
            } else {
                [Scope::Block, Scope::Device].map(|scope| clock.clock(lane).released(scope, thread))
            };
            if !access.modifies {
                *location = Location::default();
            }
            if device {
                location.device.join(&far);
            }
            if !near.is_empty() {
                match location.blocks.iter_mut().find(|entry| entry.0 == warp.block) {
                    Some(entry) => entry.1.join(&near),
                    None => location.blocks.push((warp.block, near)),
                }
            }
        }
    }

    pub(super) fn warp(&self, warp: WarpId) -> &WarpClock {
        match self.blocks.get(warp.block as usize) {
            Some(Some(block)) => &block.warps[warp.warp as usize],
            _ => panic!("block {} is not resident", warp.block),
        }
    }

    fn warp_mut(&mut self, warp: WarpId) -> &mut WarpClock {
        &mut self.block_mut(warp.block).warps[warp.warp as usize]
    }

    fn block_mut(&mut self, block: u32) -> &mut BlockClock {
        match self.blocks.get_mut(block as usize) {
            Some(Some(clock)) => clock,
            _ => panic!("block {block} is not resident"),
        }
    }
}
