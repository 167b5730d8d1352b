//! `cp.async` (PTX ISA 9.7.9.25).
//!
//! The data lands at once, but until the issuing lane has waited for its group the race detector refuses every access
//! to the destination; afterwards the bytes count as written by that lane at that moment.

use super::address::{Group, Home};
use super::{Outcome, Run, lanes, stop};
use crate::fault::FaultKind;
use crate::instruction::Slot;
use crate::race::AccessKind;
use crate::syntax::Space;
use crate::warp::Copy;

/// The fixed part of a `cp.async`.
pub(super) struct CopyShape {
    pub bytes: u32,
    pub to: i64,
    pub from: i64,
    /// There is a source size: the rest is filled with zeros.
    pub size: bool,
    /// There is a predicate under which the source is ignored.
    pub ignore: bool,
}

impl Run<'_> {
    pub(super) fn copy_async(&mut self, pc: u32, copy: &CopyShape, s: &[Slot], mask: u32) -> Outcome {
        let (to, from) = (self.addresses(s[0], copy.to), self.addresses(s[1], copy.from));
        let bytes = copy.bytes;
        let sizes: [u32; 32] = if copy.ignore {
            let ignored = self.warp.predicate(s[2]);
            std::array::from_fn(|lane| if ignored >> lane & 1 != 0 { 0 } else { bytes })
        } else if copy.size {
            self.warp.values[s[2].index()].map(|size| size as u32)
        } else {
            [bytes; 32]
        };
        if let Some(lane) = lanes(mask).find(|&lane| sizes[lane] > bytes) {
            let detail = format!("source size {} of a cp.async of {bytes} bytes", sizes[lane]);
            return stop(FaultKind::Unsupported, Some(lane as u32), detail);
        }
        let targets = self.groups(Space::Shared, &to, bytes, mask)?;
        let target = targets[0].offsets;
        // Every source address must be aligned; only bytes that are copied must exist.
        if let Some(lane) = lanes(mask).find(|&lane| from[lane] % u64::from(bytes) != 0) {
            let detail = format!("cp.async of {bytes} bytes from {}", self.describe(Space::Global, from[lane]));
            return stop(FaultKind::Misaligned, Some(lane as u32), detail);
        }
        let mut buffer = [[0u8; 16]; 32];
        self.read_sources(pc, &from, &sizes, mask, &mut buffer)?;
        for lane in lanes(mask) {
            let at = target[lane];
            let id = self.warp.id;
            let begun = self.shared.bank.region.async_begin(self.clocks, id, lane as u32, at, bytes, pc);
            let write = match begun {
                Ok(write) => write,
                Err(conflict) => return self.conflict(Home::Shared, &conflict),
            };
            let (start, length) = (at as usize, bytes as usize);
            self.shared.bank.data[start..start + length].copy_from_slice(&buffer[lane][..length]);
            self.shared.bank.shadow.write(start, length);
            self.warp.copies[lane].push_back(Copy { group: self.warp.groups[lane], write });
        }
        Ok(())
    }

    /// Reads `sizes[lane]` bytes for each lane; lanes of one size go together.
    fn read_sources(
        &mut self,
        pc: u32,
        from: &[u64; 32],
        sizes: &[u32; 32],
        mask: u32,
        buffer: &mut [[u8; 16]; 32],
    ) -> Outcome {
        let mut rest = mask;
        while rest != 0 {
            let size = sizes[rest.trailing_zeros() as usize];
            let part = lanes(rest).filter(|&lane| sizes[lane] == size).fold(0, |part, lane| part | 1 << lane);
            rest &= !part;
            // A size that is no power of two is read in pieces that are.
            let mut done = 0;
            while done < size {
                let piece = 1 << (size - done).ilog2().min(done.trailing_zeros().min(4));
                let addresses = from.map(|address| address.wrapping_add(u64::from(done)));
                for group in self.groups(Space::Global, &addresses, piece, part)? {
                    self.before_read(pc, &group, AccessKind::Read, piece)?;
                    self.fetch(&group, done as usize, piece as usize, buffer);
                }
                done += piece;
            }
        }
        Ok(())
    }

    fn fetch(&self, group: &Group, skip: usize, length: usize, buffer: &mut [[u8; 16]; 32]) {
        let Home::Global(index) = group.home else { unreachable!("the source is global") };
        let data = &self.memory.get(index).bank.data;
        for lane in lanes(group.mask) {
            let at = group.offsets[lane] as usize;
            buffer[lane][skip..skip + length].copy_from_slice(&data[at..at + length]);
        }
    }

    /// Finishes all groups of the lanes but the `pending` newest committed ones.
    pub(super) fn wait_group(&mut self, pending: Option<u32>, mask: u32) {
        for lane in lanes(mask) {
            let committed = self.warp.groups[lane];
            let finished = |copy: &Copy| match pending {
                None => true,
                Some(pending) => copy.group.saturating_add(pending) < committed,
            };
            while let Some(copy) = self.warp.copies[lane].front().copied().filter(finished) {
                self.warp.copies[lane].pop_front();
                self.shared.bank.region.async_complete(self.clocks, copy.write);
            }
        }
    }
}
