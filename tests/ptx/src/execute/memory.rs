//! Loads, stores and prefetches.

use super::address::{Group, Home};
use super::{Outcome, Run, lanes, stop};
use crate::fault::FaultKind;
use crate::instruction::{Slot, Strength, Transfer};
use crate::memory::Bank;
use crate::race::{Access, AccessKind, Conflict, Party};
use crate::syntax::Space;

/// The lowest `bytes` bytes at `at`, as a number.
fn number(data: &[u8], at: usize, bytes: u32) -> u64 {
    match bytes {
        1 => u64::from(data[at]),
        2 => u64::from(u16::from_le_bytes(data[at..at + 2].try_into().expect("two bytes"))),
        4 => u64::from(u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))),
        _ => u64::from_le_bytes(data[at..at + 8].try_into().expect("eight bytes")),
    }
}

fn put(data: &mut [u8], at: usize, bytes: u32, value: u64) {
    let bytes = bytes as usize;
    data[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
}

/// `value` of `bytes` bytes sign-extended to `keep` bits.
fn sign_extend(value: u64, bytes: u32, keep: u32) -> u64 {
    let unused = 64 - 8 * bytes;
    let wide = ((value << unused) as i64 >> unused) as u64;
    wide & (u64::MAX >> (64 - keep))
}

/// The parts of a load that are looked at, as offset and size: all of it at once, or element by element, or, of an
/// element that is used in part, byte by byte.
fn pieces(transfer: &Transfer) -> impl Iterator<Item = (u32, u32)> + use<> {
    let Transfer { bytes, elements, used, .. } = *transfer;
    let whole = used == u32::MAX >> (32 - bytes * elements);
    let element = u32::MAX >> (32 - bytes);
    let parts = (0..if whole { 0 } else { elements }).flat_map(move |at| {
        let used = used >> (at * bytes) & element;
        let by_byte = used != element;
        let parts = if by_byte { bytes } else { 1 };
        let size = if by_byte { 1 } else { bytes };
        (0..parts).filter(move |&part| used >> part & 1 != 0).map(move |part| (at * bytes + part, size))
    });
    whole.then_some((0, bytes * elements)).into_iter().chain(parts)
}

impl Run<'_> {
    /// `groups` of the lanes' addresses; an access of one instruction rarely needs more than one.
    pub(super) fn groups(&self, space: Space, addresses: &[u64; 32], bytes: u32, mask: u32) -> Outcome<Vec<Group>> {
        let mut groups = Vec::with_capacity(1);
        self.locate(space, addresses, bytes, mask, |group| groups.push(group))?;
        Ok(groups)
    }

    pub(super) fn load(
        &mut self,
        pc: u32,
        transfer: &Transfer,
        noncoherent: bool,
        d: &[Slot],
        s: &[Slot],
        mask: u32,
    ) -> Outcome {
        let bytes = transfer.bytes * transfer.elements;
        let addresses = self.addresses(s[0], transfer.offset);
        let kind = match transfer.strength {
            Strength::Weak => AccessKind::Read,
            Strength::Strong { order, scope } => AccessKind::StrongRead { order, scope },
        };
        for group in self.groups(transfer.space, &addresses, bytes, mask)? {
            for (skip, piece) in pieces(transfer) {
                let part = Group { offsets: group.offsets.map(|offset| offset + skip), ..group };
                self.before_read(pc, &part, kind, piece)?;
                if noncoherent {
                    self.note_noncoherent(&part, piece)?;
                }
            }
            let lane_bytes = self.warp.local_bytes as usize;
            let (data, stride): (&[u8], usize) = match group.home {
                Home::Global(index) => (&self.memory.get(index).bank.data, 0),
                Home::Shared => (&self.shared.bank.data, 0),
                Home::Local => (&self.warp.local, lane_bytes),
                Home::Parameter => (&self.frame.parameters, 0),
            };
            for (element, &slot) in d.iter().enumerate() {
                let skip = element * transfer.bytes as usize;
                let mut values = [0; 32];
                for lane in lanes(group.mask) {
                    let at = group.offsets[lane] as usize + lane * stride + skip;
                    values[lane] = number(data, at, transfer.bytes);
                }
                if transfer.signed {
                    values = values.map(|value| sign_extend(value, transfer.bytes, transfer.keep));
                }
                // The register file and local memory are both the warp's: write beside the borrow.
                let register = &mut self.warp.values[slot.index()];
                for lane in lanes(group.mask) {
                    register[lane] = values[lane];
                }
            }
        }
        Ok(())
    }

    pub(super) fn store(&mut self, pc: u32, transfer: &Transfer, s: &[Slot], mask: u32) -> Outcome {
        let bytes = transfer.bytes * transfer.elements;
        let addresses = self.addresses(s[0], transfer.offset);
        let kind = match transfer.strength {
            Strength::Weak => AccessKind::Write,
            Strength::Strong { order, scope } => AccessKind::StrongWrite { order, scope },
        };
        for group in self.groups(transfer.space, &addresses, bytes, mask)? {
            self.before_write(pc, &group, kind, bytes)?;
            let lane_bytes = self.warp.local_bytes as usize;
            let (data, stride): (&mut [u8], usize) = match group.home {
                Home::Global(index) => (&mut self.memory.get_mut(index).bank.data, 0),
                Home::Shared => (&mut self.shared.bank.data, 0),
                Home::Local => (&mut self.warp.local, lane_bytes),
                Home::Parameter => unreachable!("refused before"),
            };
            for (element, &slot) in s[1..].iter().enumerate() {
                let skip = element * transfer.bytes as usize;
                let register = &self.warp.values[slot.index()];
                for lane in lanes(group.mask) {
                    put(data, group.offsets[lane] as usize + lane * stride + skip, transfer.bytes, register[lane]);
                }
            }
        }
        Ok(())
    }

    pub(super) fn prefetch(&mut self, space: Space, offset: i64, s: &[Slot], mask: u32) -> Outcome {
        let addresses = self.addresses(s[0], offset);
        self.locate(space, &addresses, 1, mask, |_| {})
    }

    /// Checks that the bytes were written and that nothing unordered writes them.
    pub(super) fn before_read(&mut self, pc: u32, group: &Group, kind: AccessKind, bytes: u32) -> Outcome {
        let access = Access { warp: self.warp.id, kind, bytes, place: pc };
        let (bank, uninitialised) = match group.home {
            Home::Global(index) => (&mut self.memory.get_mut(index).bank, FaultKind::UninitialisedGlobal),
            Home::Shared => (&mut self.shared.bank, FaultKind::UninitialisedShared),
            Home::Local => return self.local_written(group, bytes),
            Home::Parameter => return Ok(()),
        };
        // The race comes first: bytes that another lane writes at the same time are unwritten or not by chance.
        if let Err(conflict) = bank.region.access_warp(self.clocks, access, group.mask, &group.offsets) {
            return self.conflict(group.home, &conflict);
        }
        if let Some((lane, byte)) = first_unwritten(bank, group, bytes) {
            let detail = format!("{} was never written", self.byte_name(group.home, byte));
            return stop(uninitialised, Some(lane), detail);
        }
        Ok(())
    }

    /// Checks that nothing unordered touches the bytes, and marks them as written.
    pub(super) fn before_write(&mut self, pc: u32, group: &Group, kind: AccessKind, bytes: u32) -> Outcome {
        let access = Access { warp: self.warp.id, kind, bytes, place: pc };
        let bank = match group.home {
            Home::Global(index) => {
                self.note_written(index, group, bytes)?;
                &mut self.memory.get_mut(index).bank
            }
            Home::Shared => &mut self.shared.bank,
            Home::Local => {
                for lane in lanes(group.mask) {
                    let at = lane * self.warp.local_bytes as usize + group.offsets[lane] as usize;
                    self.warp.local_shadow.write(at, bytes as usize);
                }
                return Ok(());
            }
            Home::Parameter => {
                let lane = Some(group.mask.trailing_zeros());
                return stop(FaultKind::BadPointerSpace, lane, "write to the kernel's parameters");
            }
        };
        if let Err(conflict) = bank.region.access_warp(self.clocks, access, group.mask, &group.offsets) {
            return self.conflict(group.home, &conflict);
        }
        for lane in lanes(group.mask) {
            bank.shadow.write(group.offsets[lane] as usize, bytes as usize);
        }
        Ok(())
    }

    fn local_written(&self, group: &Group, bytes: u32) -> Outcome {
        for lane in lanes(group.mask) {
            let at = lane * self.warp.local_bytes as usize + group.offsets[lane] as usize;
            if let Some(byte) = self.warp.local_shadow.first_unwritten(at, bytes as usize) {
                let address = byte - lane * self.warp.local_bytes as usize;
                let place = self.byte_name(group.home, address as u32);
                let detail = format!("{place} was never written");
                return stop(FaultKind::UninitialisedLocal, Some(lane as u32), detail);
            }
        }
        Ok(())
    }

    /// Notes that the non-coherent path was used; those bytes may not be written by this launch.
    pub(super) fn note_noncoherent(&mut self, group: &Group, bytes: u32) -> Outcome {
        let Home::Global(index) = group.home else { return Ok(()) };
        let allocation = self.memory.get_mut(index);
        let (Some(read), Some(written)) = (&mut allocation.noncoherent, &allocation.written) else { return Ok(()) };
        for lane in lanes(group.mask) {
            let at = group.offsets[lane] as usize;
            read.write(at, bytes as usize);
            if (at..at + bytes as usize).any(|byte| written.first_unwritten(byte, 1).is_none()) {
                let detail = format!("{} was written by this launch", self.byte_name(group.home, at as u32));
                return stop(FaultKind::NonCoherent, Some(lane as u32), detail);
            }
        }
        Ok(())
    }

    pub(super) fn note_written(&mut self, index: usize, group: &Group, bytes: u32) -> Outcome {
        let allocation = self.memory.get_mut(index);
        if allocation.read_only {
            let detail = format!("write to the constant `{}`", allocation.name);
            return stop(FaultKind::BadPointerSpace, Some(group.mask.trailing_zeros()), detail);
        }
        let (Some(read), Some(written)) = (&allocation.noncoherent, &mut allocation.written) else { return Ok(()) };
        for lane in lanes(group.mask) {
            let at = group.offsets[lane] as usize;
            written.write(at, bytes as usize);
            if (at..at + bytes as usize).any(|byte| read.first_unwritten(byte, 1).is_none()) {
                let detail =
                    format!("{} was read by ld.global.nc in this launch", self.byte_name(group.home, at as u32));
                return stop(FaultKind::NonCoherent, Some(lane as u32), detail);
            }
        }
        Ok(())
    }

    pub(super) fn byte_name(&self, home: Home, offset: u32) -> String {
        match home {
            Home::Global(index) => self.memory.describe(self.memory.get(index).base + u64::from(offset)),
            Home::Shared => self.describe(Space::Shared, u64::from(crate::memory_map::SHARED_BASE + offset)),
            Home::Local => self.describe(Space::Local, u64::from(crate::memory_map::LOCAL_BASE + offset)),
            Home::Parameter => self.describe(Space::Param, u64::from(crate::memory_map::PARAMETER_BASE + offset)),
        }
    }

    /// The fault for two accesses that nothing orders.
    pub(super) fn conflict<T>(&self, home: Home, conflict: &Conflict) -> Outcome<T> {
        let place = self.byte_name(home, conflict.offset);
        let (earlier, later) = (self.party(&conflict.earlier), self.party(&conflict.later));
        let lane = Some(conflict.later.lane);
        if conflict.earlier.in_flight || conflict.later.in_flight {
            let detail = format!("{place}: {later}, while {earlier} is under way");
            return stop(FaultKind::CpAsyncInFlight, lane, detail);
        }
        stop(FaultKind::Race, lane, format!("{place}: {earlier} and {later}, which nothing orders"))
    }

    fn party(&self, party: &Party) -> String {
        let note = &self.kernel.notes[party.place as usize];
        let verb = match (party.in_flight, party.writes) {
            (true, _) => "the cp.async",
            (_, true) => "the write",
            _ => "the read",
        };
        let source = note.source.as_deref().map_or_else(|| format!("PTX line {}", note.line), str::to_owned);
        format!("{verb} by block {} warp {} lane {} at {source}", party.warp.block, party.warp.warp, party.lane)
    }
}

fn first_unwritten(bank: &Bank, group: &Group, bytes: u32) -> Option<(u32, u32)> {
    lanes(group.mask).find_map(|lane| {
        let byte = bank.shadow.first_unwritten(group.offsets[lane] as usize, bytes as usize)?;
        Some((lane as u32, byte as u32))
    })
}
