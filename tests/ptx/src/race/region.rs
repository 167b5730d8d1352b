//! The accesses to one address range.

use std::collections::HashMap;

use super::cell::{Cell, Now, Pool, Race, Stamp};
use super::clock::{Clocks, Location, Order, Scope, StrongAccess, WarpId, lanes_of};

/// Bytes of one cell.
const WORD: u32 = 4;
/// Cells of one line: as much as the widest access of a lane usually covers.
const LINE: usize = 4;
/// Cells that are allocated together, when the first of them is touched: one bit of a `u64` per line.
const PAGE: u32 = 256;

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

impl AccessKind {
    fn flags(self) -> u32 {
        let strong = |scope| Stamp::STRONG | if scope == Scope::Device { Stamp::DEVICE } else { 0 };
        match self {
            AccessKind::Read => 0,
            AccessKind::Write => Stamp::WRITES,
            AccessKind::StrongRead { scope, .. } => strong(scope),
            AccessKind::StrongWrite { scope, .. } => strong(scope) | Stamp::WRITES,
            AccessKind::Atomic { scope, .. } | AccessKind::Reduce { scope, .. } => {
                strong(scope) | Stamp::WRITES | Stamp::MODIFIES
            }
        }
    }

    /// What a strong access means for the clocks.
    fn strong(self) -> Option<StrongAccess> {
        let access = |reads, writes, order, scope| StrongAccess {
            reads,
            writes,
            modifies: matches!(self, AccessKind::Atomic { .. } | AccessKind::Reduce { .. }),
            order,
            scope,
        };
        match self {
            AccessKind::Read | AccessKind::Write => None,
            AccessKind::StrongRead { order, scope } => Some(access(true, false, order, scope)),
            AccessKind::StrongWrite { order, scope } => Some(access(false, true, order, scope)),
            AccessKind::Atomic { order, scope } => Some(access(true, true, order, scope)),
            AccessKind::Reduce { order, scope } => Some(access(false, true, order, scope)),
        }
    }
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

/// The cells of 1024 bytes.
#[derive(Debug)]
struct Page {
    cells: [Cell; PAGE as usize],
    /// One bit per line whose four cells have the same history, told by the first alone.
    uniform: u64,
}

impl Page {
    fn untouched() -> Box<Self> {
        Box::new(Self { cells: std::array::from_fn(|_| Cell::default()), uniform: u64::MAX })
    }

    fn is_uniform(&self, line: usize) -> bool {
        self.uniform >> line & 1 == 1
    }

    /// The cells `first..first + count`, each with its own history from now on.
    fn words(&mut self, pool: &mut Pool, first: usize, count: usize) -> &mut [Cell] {
        let line = first / LINE;
        if self.is_uniform(line) {
            for word in 1..LINE {
                self.cells[line * LINE + word] = pool.duplicate(&self.cells[line * LINE]);
            }
            self.uniform &= !(1 << line);
        }
        &mut self.cells[first..first + count]
    }
}

/// The recorded accesses to one address range.
#[derive(Debug)]
pub struct Region {
    pages: Vec<Option<Box<Page>>>,
    pool: Pool,
    /// What was released where, by the offset of the strong access.
    locations: HashMap<u32, Location>,
}

impl Region {
    /// Watches `bytes` bytes that nobody has touched. Memory is taken as bytes are touched.
    pub fn new(bytes: u32) -> Self {
        let pages = bytes.div_ceil(WORD * PAGE);
        Self { pages: (0..pages).map(|_| None).collect(), pool: Pool::default(), locations: HashMap::new() }
    }

    /// Forgets all accesses: the boundary between two launches, or between two blocks that use the region in turn.
    pub fn clear(&mut self) {
        for page in self.pages.iter_mut().flatten() {
            page.cells.fill(Cell::default());
            page.uniform = u64::MAX;
        }
        self.pool.clear();
        self.locations.clear();
    }

    /// The lanes of `mask` access `offsets[lane]..+ bytes` in one instruction, in the order of their lanes. The
    /// ranges must lie inside the region and be aligned to `bytes`; the caller has checked both. Strong accesses acquire and release in `clocks`. After an `Err` the region is not used further.
    pub fn access_warp(
        &mut self,
        clocks: &mut Clocks,
        access: Access,
        mask: u32,
        offsets: &[u32; 32],
    ) -> Result<(), Box<Conflict>> {
        if access.kind.strong().is_some() {
            return lanes_of(mask).try_for_each(|lane| self.strong(clocks, access, lane, offsets[lane as usize]));
        }
        let warp = clocks.warp(access.warp);
        let stamp = Stamp::new(warp.number, access.kind.flags(), 0, warp.now, access.place);
        let Some(view) = warp.converged() else {
            return lanes_of(mask).try_for_each(|lane| {
                let now = Now { stamp: stamp.of_lane(lane), view: warp.view(lane), first: warp.first };
                self.touch(clocks, &now, offsets[lane as usize], access.bytes)
            });
        };
        let mut now = Now { stamp, view, first: warp.first };
        // A read of one place by all lanes is one access of many lanes.
        let leader = offsets[mask.trailing_zeros() as usize % 32];
        if access.kind == AccessKind::Read && lanes_of(mask).all(|lane| offsets[lane as usize] == leader) {
            now.stamp.lanes = mask;
            return if mask == 0 { Ok(()) } else { self.touch(clocks, &now, leader, access.bytes) };
        }
        for lane in lanes_of(mask) {
            now.stamp.lanes = 1 << lane;
            self.touch(clocks, &now, offsets[lane as usize], access.bytes)?;
        }
        Ok(())
    }

    /// [`Region::access_warp`] for one lane.
    pub fn access_lane(
        &mut self,
        clocks: &mut Clocks,
        access: Access,
        lane: u32,
        offset: u32,
    ) -> Result<(), Box<Conflict>> {
        if access.kind.strong().is_some() {
            return self.strong(clocks, access, lane, offset);
        }
        let warp = clocks.warp(access.warp);
        let stamp = Stamp::new(warp.number, access.kind.flags(), 1 << lane, warp.now, access.place);
        let now = Now { stamp, view: warp.view(lane), first: warp.first };
        self.touch(clocks, &now, offset, access.bytes)
    }

    /// `cp.async` by `lane` starts to write `offset..offset + bytes`: 4, 8 or 16 bytes, aligned.
    pub fn async_begin(
        &mut self,
        clocks: &Clocks,
        warp: WarpId,
        lane: u32,
        offset: u32,
        bytes: u32,
        place: u32,
    ) -> Result<AsyncWrite, Box<Conflict>> {
        let clock = clocks.warp(warp);
        // No epoch covers the last one, so nothing is ordered after the write until it lands.
        let stamp = Stamp::new(clock.number, Stamp::WRITES | Stamp::IN_FLIGHT, 1 << lane, u32::MAX, place);
        let now = Now { stamp, view: clock.view(lane), first: clock.first };
        self.touch(clocks, &now, offset, bytes)?;
        Ok(AsyncWrite { warp, lane, offset, bytes, place })
    }

    /// The lane's `cp.async.wait_group` (or `wait_all`) covers `write`.
    pub fn async_complete(&mut self, clocks: &Clocks, write: AsyncWrite) {
        let clock = clocks.warp(write.warp);
        let stamp = Stamp::new(clock.number, Stamp::WRITES, 1 << write.lane, clock.now, write.place);
        let (page, first) = page(&mut self.pages, write.offset);
        let told = if page.is_uniform(first / LINE) { 1 } else { write.bytes.div_ceil(WORD) as usize };
        page.cells[first..first + told].iter_mut().for_each(|cell| cell.land(stamp));
    }

    fn strong(&mut self, clocks: &mut Clocks, access: Access, lane: u32, offset: u32) -> Result<(), Box<Conflict>> {
        let warp = clocks.warp(access.warp);
        let stamp = Stamp::new(warp.number, access.kind.flags(), 1 << lane, warp.now, access.place);
        let now = Now { stamp, view: warp.view(lane), first: warp.first };
        self.touch(clocks, &now, offset, access.bytes)?;
        if let Some(strong) = access.kind.strong() {
            clocks.strong(access.warp, lane, self.locations.entry(offset).or_default(), strong);
        }
        Ok(())
    }

    #[inline]
    fn touch(&mut self, clocks: &Clocks, now: &Now, offset: u32, bytes: u32) -> Result<(), Box<Conflict>> {
        debug_assert!(offset.is_multiple_of(bytes), "an access of {bytes} bytes at offset {offset} is misaligned");
        let pool = &mut self.pool;
        let (page, first) = page(&mut self.pages, offset);
        let count = bytes.div_ceil(WORD) as usize;
        if bytes < WORD {
            let cell = &mut page.words(pool, first, count)[0];
            let race = pool.access_bytes(cell, now, (offset % WORD) as usize, bytes as usize);
            return race.map_err(|race| conflict(clocks, now, &race, offset / WORD * WORD));
        }
        if count < LINE {
            let cells = page.words(pool, first, count);
            return access_words(pool, cells, clocks, now, offset);
        }
        for line in first / LINE..(first + count) / LINE {
            let told = if page.is_uniform(line) { 1 } else { LINE };
            let offset = offset / (WORD * PAGE) * (WORD * PAGE) + WORD * (line * LINE) as u32;
            access_words(pool, &mut page.cells[line * LINE..][..told], clocks, now, offset)?;
            if now.stamp.overwrites() {
                page.uniform |= 1 << line;
            }
        }
        Ok(())
    }
}

/// The page of an offset, and the offset's cell in it.
#[inline]
fn page(pages: &mut [Option<Box<Page>>], offset: u32) -> (&mut Page, usize) {
    let word = offset / WORD;
    (pages[(word / PAGE) as usize].get_or_insert_with(Page::untouched), (word % PAGE) as usize)
}

#[inline]
fn access_words(
    pool: &mut Pool,
    cells: &mut [Cell],
    clocks: &Clocks,
    now: &Now,
    offset: u32,
) -> Result<(), Box<Conflict>> {
    for (word, cell) in cells.iter_mut().enumerate() {
        if let Err(race) = pool.access_word(cell, now) {
            return Err(conflict(clocks, now, &race, offset + WORD * word as u32));
        }
    }
    Ok(())
}

/// `offset` is that of the cell.
#[cold]
fn conflict(clocks: &Clocks, now: &Now, race: &Race, offset: u32) -> Box<Conflict> {
    let party = |stamp: &Stamp, lane| Party {
        warp: WarpId { block: stamp.warp() / clocks.warps(), warp: stamp.warp() % clocks.warps() },
        lane,
        place: stamp.place,
        writes: stamp.is(Stamp::WRITES),
        strong: stamp.is(Stamp::STRONG),
        in_flight: stamp.is(Stamp::IN_FLIGHT),
    };
    let earlier = party(&race.earlier, race.lane);
    // Of several lanes that read one place, one that did not make the earlier access itself.
    let same_warp = race.earlier.warp() == now.stamp.warp();
    let mut later_lanes = lanes_of(now.stamp.lanes).filter(|&lane| !same_warp || lane != race.lane);
    let later_lane = later_lanes.next().unwrap_or(race.lane);
    Box::new(Conflict { offset: offset + race.byte, earlier, later: party(&now.stamp, later_lane) })
}
