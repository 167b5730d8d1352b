//! The record of one byte, or of four bytes with a common history, and the test of one access against it.

use super::clock::{View, lanes_of};
use super::knowledge::LANES;

/// An access as recorded: a warp's lanes in one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Warp number and, in the low [`Stamp::FLAGS`] bits, what the access does.
    who: u32,
    pub lanes: u32,
    /// 0: no access.
    epoch: u32,
    pub place: u32,
}

impl Stamp {
    const FLAGS: u32 = 5;
    pub const WRITES: u32 = 1;
    pub const STRONG: u32 = 2;
    /// Strong in a scope wider than the block.
    pub const DEVICE: u32 = 4;
    /// An unfinished `cp.async`.
    pub const IN_FLIGHT: u32 = 8;
    /// Reads and writes in one: an atomic.
    pub const MODIFIES: u32 = 16;

    pub fn new(warp: u32, flags: u32, lanes: u32, epoch: u32, place: u32) -> Self {
        debug_assert!(warp < 1 << (32 - Self::FLAGS));
        Self { who: warp << Self::FLAGS | flags, lanes, epoch, place }
    }

    /// The same access by another lane.
    pub fn of_lane(self, lane: u32) -> Self {
        Self { lanes: 1 << lane, ..self }
    }

    pub fn warp(&self) -> u32 {
        self.who >> Self::FLAGS
    }

    pub fn is(&self, flag: u32) -> bool {
        self.who & flag != 0
    }

    /// Whether the access leaves nothing of the earlier history: a weak write.
    pub fn overwrites(&self) -> bool {
        self.who & (Self::WRITES | Self::STRONG) == Self::WRITES
    }

    fn is_some(&self) -> bool {
        self.epoch != 0
    }
}

/// An access that is being tested: by one lane, or the same read by several lanes that know the same.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub stamp: Stamp,
    pub view: &'a View,
    /// Number of the first warp of the block.
    pub first: u32,
}

impl Now<'_> {
    /// The epoch up to which the accessing lanes know all lanes of `warp`.
    #[inline]
    fn known(&self, warp: u32) -> u32 {
        match self.view.near.get(warp.wrapping_sub(self.first) as usize) {
            Some(&epoch) => epoch,
            None => self.view.other.warp(warp),
        }
    }

    #[inline]
    fn saw(&self, earlier: &Stamp) -> bool {
        earlier.epoch <= self.known(earlier.warp()) || self.first_unseen(earlier).is_none()
    }

    /// The first lane of `earlier` that does not happen before this access.
    fn first_unseen(&self, earlier: &Stamp) -> Option<u32> {
        if earlier.is(Stamp::IN_FLIGHT) {
            return Some(earlier.lanes.trailing_zeros());
        }
        if earlier.epoch <= self.known(earlier.warp()) {
            return None;
        }
        let own = if earlier.warp() == self.stamp.warp() && self.stamp.lanes.is_power_of_two() {
            self.stamp.lanes
        } else {
            0
        };
        let known = |lane| self.view.other.lane(earlier.warp() * LANES + lane);
        lanes_of(earlier.lanes & !own).find(|&lane| earlier.epoch > known(lane))
    }

    /// Whether both are strong in scopes that include each other.
    fn morally_strong_with(&self, earlier: &Stamp) -> bool {
        let both = self.stamp.who & earlier.who;
        let same_block = earlier.warp().wrapping_sub(self.first) < self.view.near.len() as u32;
        both & Stamp::STRONG != 0 && (same_block || both & Stamp::DEVICE != 0)
    }

    fn test(&self, earlier: &Stamp) -> Result<(), Race> {
        let writes = (self.stamp.who | earlier.who) & Stamp::WRITES != 0;
        if !earlier.is_some() || !writes || self.morally_strong_with(earlier) {
            return Ok(());
        }
        match self.first_unseen(earlier) {
            None => Ok(()),
            Some(lane) => Err(Race { earlier: *earlier, lane, byte: 0 }),
        }
    }

    /// Takes the place of `earlier`, an access of the same kind, in the record if whatever races with `earlier` from
    /// now on races with this too.
    #[inline]
    fn replaces(&self, earlier: &mut Stamp) -> bool {
        let new = &self.stamp;
        if earlier.who == new.who {
            if earlier.epoch == new.epoch && earlier.place == new.place {
                earlier.lanes |= new.lanes;
                return true;
            }
            if earlier.lanes & !new.lanes == 0 {
                *earlier = *new;
                return true;
            }
        }
        if earlier.epoch <= self.known(earlier.warp()) {
            *earlier = *new;
            return true;
        }
        false
    }
}

/// The recorded side of a conflict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Race {
    pub earlier: Stamp,
    /// The first lane of it that is concerned.
    pub lane: u32,
    /// The byte of the cell.
    pub byte: u32,
}

/// The history of four bytes (or of one, in a split cell): the last weak write and everything since that a later
/// access may race with.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    /// The last weak write.
    write: Stamp,
    /// Weak reads since then. More of them, and strong accesses, are in [`Extra`].
    reads: [Stamp; 2],
    /// 1 + index in the pool of extras, or 0; with [`Cell::SPLIT`] the cell's own stamps are void.
    extra: u32,
}

impl Cell {
    const SPLIT: u32 = 1 << 31;

    fn slot(&self) -> Option<usize> {
        (self.extra & !Self::SPLIT).checked_sub(1).map(|slot| slot as usize)
    }
}

/// What only few cells need.
#[derive(Clone, Debug, Default)]
struct Extra {
    /// Sorted by `who`.
    stamps: Vec<Stamp>,
    /// The last strong write, if it is the last write.
    latest: Stamp,
    /// The cells of the four bytes, once their histories differ.
    bytes: Option<Box<[Cell; 4]>>,
}

/// The extras of all cells of a region.
#[derive(Debug, Default)]
pub(super) struct Pool {
    extras: Vec<Extra>,
    free: Vec<u32>,
}

impl Pool {
    pub fn clear(&mut self) {
        self.extras.clear();
        self.free.clear();
    }

    fn take(&mut self, extra: Extra) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.extras[slot as usize] = extra;
                slot + 1
            }
            None => {
                self.extras.push(extra);
                self.extras.len() as u32
            }
        }
    }

    /// The stamps of the cell's extra, made if need be.
    fn stamps(&mut self, cell: &mut Cell) -> &mut Vec<Stamp> {
        if cell.extra == 0 {
            cell.extra = self.take(Extra::default());
        }
        &mut self.extras[cell.extra as usize - 1].stamps
    }

    fn release(&mut self, cell: &mut Cell) {
        if let Some(slot) = cell.slot() {
            if let Some(mut bytes) = self.extras[slot].bytes.take() {
                bytes.iter_mut().for_each(|byte| self.release(byte));
            }
            self.extras[slot].stamps.clear();
            self.extras[slot].latest = Stamp::default();
            self.free.push(slot as u32);
            cell.extra = 0;
        }
    }

    /// An access to all four bytes of `cell`.
    #[inline]
    pub fn access_word(&mut self, cell: &mut Cell, now: &Now) -> Result<(), Race> {
        if cell.extra & Cell::SPLIT == 0 {
            return self.access(cell, now);
        }
        self.access_bytes(cell, now, 0, 4)?;
        if now.stamp.overwrites() {
            self.release(cell);
            *cell = Cell { write: now.stamp, ..Cell::default() };
        }
        Ok(())
    }

    /// An access to bytes `first..first + count` of `cell`, which gives its bytes separate histories.
    pub fn access_bytes(&mut self, cell: &mut Cell, now: &Now, first: usize, count: usize) -> Result<(), Race> {
        if cell.extra & Cell::SPLIT == 0 {
            self.split(cell);
        }
        let slot = cell.slot().expect("a split cell has an extra");
        let mut bytes = self.extras[slot].bytes.take().expect("a split cell has bytes");
        let result = (first..first + count)
            .try_for_each(|byte| self.access(&mut bytes[byte], now).map_err(|race| Race { byte: byte as u32, ..race }));
        self.extras[slot].bytes = Some(bytes);
        result
    }

    /// Another cell with the same history, which must not be split.
    pub fn duplicate(&mut self, cell: &Cell) -> Cell {
        debug_assert!(cell.extra & Cell::SPLIT == 0);
        let mut copy = cell.clone();
        if let Some(slot) = cell.slot() {
            copy.extra = self.take(self.extras[slot].clone());
        }
        copy
    }

    fn split(&mut self, cell: &mut Cell) {
        let bytes = Box::new(std::array::from_fn(|_| self.duplicate(cell)));
        self.release(cell);
        *cell = Cell {
            extra: Cell::SPLIT | self.take(Extra { bytes: Some(bytes), ..Extra::default() }),
            ..Cell::default()
        };
    }

    #[inline]
    fn access(&mut self, cell: &mut Cell, now: &Now) -> Result<(), Race> {
        if now.stamp.is(Stamp::STRONG) {
            self.strong(cell, now)
        } else if now.stamp.is(Stamp::WRITES) {
            self.write(cell, now)
        } else {
            self.read(cell, now)
        }
    }

    #[inline]
    fn read(&mut self, cell: &mut Cell, now: &Now) -> Result<(), Race> {
        if cell.write.is_some() && !now.saw(&cell.write) {
            return now.test(&cell.write);
        }
        if cell.extra != 0 {
            // Strong writes are among the extras.
            self.test_extras(cell, now)?;
        }
        for read in &mut cell.reads {
            if !read.is_some() {
                *read = now.stamp;
                return Ok(());
            }
            if now.replaces(read) {
                return Ok(());
            }
        }
        self.record(cell, now);
        Ok(())
    }

    #[inline]
    fn write(&mut self, cell: &mut Cell, now: &Now) -> Result<(), Race> {
        for earlier in [&cell.write, &cell.reads[0], &cell.reads[1]] {
            if earlier.is_some() && !now.saw(earlier) {
                return now.test(earlier);
            }
        }
        if cell.extra != 0 {
            self.test_extras(cell, now)?;
            self.release(cell);
        }
        *cell = Cell { write: now.stamp, ..Cell::default() };
        Ok(())
    }

    fn strong(&mut self, cell: &mut Cell, now: &Now) -> Result<(), Race> {
        for earlier in [&cell.write, &cell.reads[0], &cell.reads[1]] {
            now.test(earlier)?;
        }
        self.test_extras(cell, now)?;
        if now.stamp.is(Stamp::MODIFIES) {
            self.observe(cell, now);
        }
        self.record(cell, now);
        if now.stamp.is(Stamp::WRITES) {
            let slot = cell.slot().expect("a strong access is among the extras");
            self.extras[slot].latest = now.stamp;
        }
        Ok(())
    }

    /// An atomic observes the last strong write: what comes after the atomic comes after that write too, with no fence
    /// needed (PTX ISA 8.9.5: observation order before base causality order). The record of the atomic stands for both.
    fn observe(&mut self, cell: &mut Cell, now: &Now) {
        let Some(slot) = cell.slot() else { return };
        let Extra { stamps, latest, .. } = &mut self.extras[slot];
        if !latest.is_some() || !now.morally_strong_with(latest) {
            return;
        }
        let is_latest =
            |stamp: &Stamp| (stamp.who, stamp.epoch, stamp.place) == (latest.who, latest.epoch, latest.place);
        if let Some(at) = stamps.iter().position(is_latest) {
            stamps[at].lanes &= !latest.lanes;
            if stamps[at].lanes == 0 {
                stamps.remove(at);
            }
        }
    }

    fn test_extras(&self, cell: &Cell, now: &Now) -> Result<(), Race> {
        match cell.slot() {
            None => Ok(()),
            Some(slot) => self.extras[slot].stamps.iter().try_for_each(|earlier| now.test(earlier)),
        }
    }

    /// Adds an access to the extras, in the place of earlier ones of its warp that it covers.
    fn record(&mut self, cell: &mut Cell, now: &Now) {
        let stamps = self.stamps(cell);
        let first = stamps.partition_point(|stamp| stamp.who < now.stamp.who);
        let mut next = first;
        while let Some(stamp) = stamps.get_mut(next).filter(|stamp| stamp.who == now.stamp.who) {
            if now.replaces(stamp) {
                return;
            }
            next += 1;
        }
        stamps.insert(next, now.stamp);
    }
}

impl Cell {
    /// An asynchronous write of the whole cell has landed.
    pub fn land(&mut self, stamp: Stamp) {
        debug_assert!(self.write.is(Stamp::IN_FLIGHT) && self.extra == 0);
        self.write = stamp;
    }
}
