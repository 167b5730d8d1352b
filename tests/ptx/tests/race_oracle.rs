//! Random programs: the race detector against vector clocks per thread and a list of all accesses per byte.

use obsdiff_ptx::race::{Access, AccessKind, Clocks, Order, Region, Scope, WarpId};

const BLOCKS: u32 = 2;
const WARPS: u32 = 2;
const LANES: u32 = 32;
const THREADS: usize = (BLOCKS * WARPS * LANES) as usize;
/// Lanes that the programs use.
const ACTIVE: [u32; 4] = [0, 1, 17, 31];
const BYTES: usize = 32;

type Clock = Vec<u32>;

/// A reproducible stream of numbers (xorshift64).
struct Stream(u64);

impl Stream {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % u64::from(bound)) as u32
    }
}

#[derive(Clone, Copy)]
struct Thread {
    block: u32,
    warp: u32,
    lane: u32,
}

impl Thread {
    fn index(self) -> usize {
        ((self.block * WARPS + self.warp) * LANES + self.lane) as usize
    }
}

/// An access that the oracle remembers for ever.
struct Past {
    thread: Thread,
    time: u32,
    kind: AccessKind,
}

fn join(clock: &mut Clock, other: &Clock) {
    clock.iter_mut().zip(other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
}

/// What one location has released: to everyone, and within each block.
#[derive(Clone)]
struct Released {
    device: Clock,
    blocks: [Clock; BLOCKS as usize],
}

impl Released {
    fn nothing() -> Self {
        Self { device: vec![0; THREADS], blocks: std::array::from_fn(|_| vec![0; THREADS]) }
    }
}

/// One clock per thread over all threads, each thread counting its own synchronisations.
struct Oracle {
    clocks: Vec<Clock>,
    /// By scope.
    fenced: [Vec<Clock>; 2],
    pending: [Vec<Clock>; 2],
    released: Vec<Released>,
    past: Vec<Vec<Past>>,
}

impl Oracle {
    fn new() -> Self {
        let zero = || vec![vec![0; THREADS]; THREADS];
        let mut clocks = zero();
        (0..THREADS).for_each(|thread| clocks[thread][thread] = 1);
        Self {
            clocks,
            fenced: [zero(), zero()],
            pending: [zero(), zero()],
            released: vec![Released::nothing(); BYTES],
            past: (0..BYTES).map(|_| Vec::new()).collect(),
        }
    }

    /// All of `members` learn what all of them know and fenced.
    fn meet(&mut self, members: &[usize]) {
        let [fenced_block, fenced_device] = &mut self.fenced;
        let [pending_block, pending_device] = &mut self.pending;
        for clocks in [&mut self.clocks, fenced_block, fenced_device, pending_block, pending_device] {
            let mut all = vec![0; THREADS];
            members.iter().for_each(|&member| join(&mut all, &clocks[member]));
            members.iter().for_each(|&member| clocks[member].clone_from(&all));
        }
        members.iter().for_each(|&member| self.clocks[member][member] += 1);
    }

    fn fence(&mut self, thread: usize, scope: Scope) {
        for scope in 0..=scope as usize {
            let pending = std::mem::replace(&mut self.pending[scope][thread], vec![0; THREADS]);
            join(&mut self.clocks[thread], &pending);
        }
        for scope in 0..=scope as usize {
            self.fenced[scope][thread] = self.clocks[thread].clone();
        }
        self.clocks[thread][thread] += 1;
    }

    fn races(&self, thread: Thread, kind: AccessKind, byte: usize) -> bool {
        let clock = &self.clocks[thread.index()];
        self.past[byte].iter().any(|past| {
            let writes = is_write(kind) || is_write(past.kind);
            let strong = morally_strong(thread, kind, past);
            let own = thread.index() == past.thread.index();
            writes && !strong && !own && clock[past.thread.index()] < past.time
        })
    }

    fn record(&mut self, thread: Thread, kind: AccessKind, offset: usize, bytes: usize) {
        let time = self.clocks[thread.index()][thread.index()];
        for byte in offset..offset + bytes {
            if matches!(kind, AccessKind::Atomic { .. } | AccessKind::Reduce { .. }) {
                // The write that an atomic observes is ordered before all that the atomic is ordered before.
                let last = self.past[byte].iter().rposition(|past| is_write(past.kind));
                if let Some(last) = last.filter(|&last| morally_strong(thread, kind, &self.past[byte][last])) {
                    self.past[byte].remove(last);
                }
            }
            self.past[byte].push(Past { thread, time, kind });
        }
        let (order, scope, reads, writes, modifies) = match kind {
            AccessKind::Read | AccessKind::Write => return,
            AccessKind::StrongRead { order, scope } => (order, scope, true, false, false),
            AccessKind::StrongWrite { order, scope } => (order, scope, false, true, false),
            AccessKind::Atomic { order, scope } => (order, scope, true, true, true),
            AccessKind::Reduce { order, scope } => (order, scope, false, true, true),
        };
        let me = thread.index();
        let device = scope == Scope::Device;
        if reads {
            let near = self.released[offset].blocks[thread.block as usize].clone();
            let far = if device { self.released[offset].device.clone() } else { vec![0; THREADS] };
            if matches!(order, Order::Acquire | Order::AcquireRelease) {
                join(&mut self.clocks[me], &near);
                join(&mut self.clocks[me], &far);
            } else {
                join(&mut self.pending[0][me], &near);
                join(&mut self.pending[1][me], &far);
            }
        }
        if writes {
            let [near, far] = if matches!(order, Order::Release | Order::AcquireRelease) {
                let all = self.clocks[me].clone();
                self.clocks[me][me] += 1;
                [all.clone(), all]
            } else {
                [self.fenced[0][me].clone(), self.fenced[1][me].clone()]
            };
            if !modifies {
                self.released[offset] = Released::nothing();
            }
            let released = &mut self.released[offset];
            if device {
                join(&mut released.device, &far);
            }
            join(&mut released.blocks[thread.block as usize], &near);
        }
    }
}

/// Whether both are strong in scopes that include each other.
fn morally_strong(thread: Thread, kind: AccessKind, past: &Past) -> bool {
    match (scope_of(kind), scope_of(past.kind)) {
        (Some(mine), Some(theirs)) => {
            thread.block == past.thread.block || mine == Scope::Device && theirs == Scope::Device
        }
        _ => false,
    }
}

fn is_write(kind: AccessKind) -> bool {
    !matches!(kind, AccessKind::Read | AccessKind::StrongRead { .. })
}

fn scope_of(kind: AccessKind) -> Option<Scope> {
    match kind {
        AccessKind::Read | AccessKind::Write => None,
        AccessKind::StrongRead { scope, .. }
        | AccessKind::StrongWrite { scope, .. }
        | AccessKind::Atomic { scope, .. }
        | AccessKind::Reduce { scope, .. } => Some(scope),
    }
}

fn threads_of(block: u32, warps: impl Iterator<Item = u32> + Clone) -> Vec<usize> {
    let lanes = warps.flat_map(|warp| (0..LANES).map(move |lane| Thread { block, warp, lane }));
    lanes.map(Thread::index).collect()
}

/// Runs random steps until both find a race in the same step, or to the end of the program. Steps of the oracle's
/// choice that would race are taken with a small probability only, so that programs grow long.
fn run(seed: u64, strong_share: u32) -> (u32, bool) {
    let mut stream = Stream(seed | 1);
    let mut oracle = Oracle::new();
    let mut clocks = Clocks::new(WARPS * LANES);
    (0..BLOCKS).for_each(|block| clocks.start_block(block));
    let mut region = Region::new(BYTES as u32);
    for step in 0..400 {
        let (block, warp) = (stream.below(BLOCKS), stream.below(WARPS));
        let id = WarpId { block, warp };
        let any_lane = |stream: &mut Stream| ACTIVE[stream.below(4) as usize];
        match stream.below(16) {
            0 => {
                (0..WARPS).for_each(|warp| clocks.barrier_arrive(WarpId { block, warp }, 2));
                clocks.barrier_complete(block, 2, &[0, 1]);
                oracle.meet(&threads_of(block, 0..WARPS));
            }
            1 => {
                let mask = if stream.below(2) == 0 {
                    u32::MAX
                } else {
                    1 << any_lane(&mut stream) | 1 << any_lane(&mut stream)
                };
                clocks.warp_barrier(id, mask);
                let lanes = (0..LANES).filter(|lane| mask >> lane & 1 == 1);
                let members: Vec<_> = lanes.map(|lane| Thread { block, warp, lane }.index()).collect();
                oracle.meet(&members);
            }
            2 => {
                let scope = [Scope::Block, Scope::Device][stream.below(2) as usize];
                let mask = if stream.below(2) == 0 { u32::MAX } else { 1 << any_lane(&mut stream) };
                clocks.fence(id, mask, scope);
                for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
                    oracle.fence(Thread { block, warp, lane }.index(), scope);
                }
            }
            _ => {
                let thread = Thread { block, warp, lane: any_lane(&mut stream) };
                let scope = [Scope::Block, Scope::Device][stream.below(2) as usize];
                let orders = [Order::Relaxed, Order::Acquire, Order::Release, Order::AcquireRelease];
                let order = orders[stream.below(4) as usize];
                let kind = if stream.below(8) < strong_share {
                    match stream.below(4) {
                        0 => AccessKind::StrongRead { order, scope },
                        1 => AccessKind::StrongWrite { order, scope },
                        2 => AccessKind::Atomic { order, scope },
                        _ => AccessKind::Reduce { order, scope },
                    }
                } else {
                    [AccessKind::Read, AccessKind::Write][stream.below(2) as usize]
                };
                let bytes = [1, 2, 4, 8, 16, 16, 32][stream.below(7) as usize];
                let offset = stream.below(BYTES as u32 / bytes) * bytes;
                let range = offset as usize..(offset + bytes) as usize;
                let expected = range.clone().find(|&byte| oracle.races(thread, kind, byte));
                if expected.is_some() && stream.below(24) != 0 {
                    continue;
                }
                let access = Access { warp: id, kind, bytes, place: step };
                let found = region.access_lane(&mut clocks, access, thread.lane, offset);
                assert_eq!(found.is_err(), expected.is_some(), "seed {seed} step {step}: {kind:?} {range:?} {found:?}");
                if let (Err(conflict), Some(byte)) = (found, expected) {
                    assert_eq!(conflict.offset as usize, byte, "seed {seed} step {step}: {conflict:?}");
                    let party = conflict.earlier;
                    let named = |past: &&Past| {
                        (past.thread.block, past.thread.warp, past.thread.lane)
                            == (party.warp.block, party.warp.warp, party.lane)
                            && is_write(past.kind) == party.writes
                    };
                    assert!(oracle.past[byte].iter().any(|past| named(&past)), "seed {seed}: {conflict:?} never was");
                    return (step, true);
                }
                oracle.record(thread, kind, offset as usize, bytes as usize);
            }
        }
    }
    (400, false)
}

#[test]
fn random_programs_race_where_exact_vector_clocks_say() {
    let (mut steps, mut raced, mut late) = (0, 0, 0);
    for seed in 0..3000u64 {
        let (length, race) = run(seed * 0x9e37_79b9 + 12_345, (seed % 8) as u32);
        steps += length;
        raced += u32::from(race);
        late += u32::from(race && length > 50);
    }
    // The programs must be neither all clean nor over before anything has synchronised.
    assert!(raced > 500 && late > 250, "{steps} steps, {raced} races, {late} of them late");
}
