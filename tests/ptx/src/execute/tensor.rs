//! Warp-wide matrix instructions; the arithmetic is in [`crate::tensor`].

use super::address::Home;
use super::{Outcome, Run, stop};
use crate::fault::FaultKind;
use crate::instruction::{Op, Slot};
use crate::race::AccessKind;
use crate::syntax::Space;
use crate::tensor::{Lanes, ldmatrix, movmatrix, stmatrix};

/// Bytes of a row of an 8 x 8 matrix.
const ROW: u32 = 16;

impl Run<'_> {
    pub(super) fn matrix(&mut self, pc: u32, op: &Op, d: &[Slot], s: &[Slot], mask: u32) -> Outcome {
        if mask != u32::MAX {
            let lane = (!mask).trailing_zeros();
            let why = if self.warp.exited >> lane & 1 != 0 { "has exited" } else { "does not run it" };
            return stop(FaultKind::DivergentCollective, Some(lane), format!("lane {lane} {why}"));
        }
        match op {
            Op::LoadMatrix { matrices, transpose, space, offset } => {
                self.load_matrix(pc, *matrices, *transpose, *space, *offset, d, s)
            }
            Op::StoreMatrix { matrices, transpose, space, offset } => {
                self.store_matrix(pc, *matrices, *transpose, *space, *offset, s)
            }
            Op::MoveMatrix => {
                let [a] = self.fragments(s);
                self.put(d, &[movmatrix(&a)]);
                Ok(())
            }
            Op::Mma(mma) => {
                let (na, nb) = (mma.a_registers(), mma.b_registers());
                let all: [Lanes; 10] = self.fragments(s);
                let mut result = [[0; 32]; 4];
                let result = &mut result[..d.len()];
                mma.run(&all[..na], &all[na..na + nb], &all[na + nb..s.len()], result);
                self.put(d, result);
                Ok(())
            }
            Op::SparseMma(mma) => {
                let (na, nb, nc) = (mma.a_registers(), mma.b_registers(), mma.c_registers());
                let all: [Lanes; 13] = self.fragments(s);
                let mut result = [[0; 32]; 4];
                let result = &mut result[..d.len()];
                let (a, rest) = all.split_at(na);
                let (b, rest) = rest.split_at(nb);
                if let Err(error) = mma.run(a, b, &rest[..nc], &rest[nc], result) {
                    let detail = format!(
                        "metadata of row {} columns {}..{}: indices {} and {} are not ascending",
                        error.row,
                        error.column,
                        error.column + 4,
                        error.indices[0],
                        error.indices[1]
                    );
                    return stop(FaultKind::Unsupported, Some(error.lane as u32), detail);
                }
                self.put(d, result);
                Ok(())
            }
            _ => unreachable!("{op:?} is no matrix instruction"),
        }
    }

    /// The first `N` source registers; those that do not exist are zero.
    fn fragments<const N: usize>(&self, s: &[Slot]) -> [Lanes; N] {
        std::array::from_fn(|at| match s.get(at) {
            Some(slot) => self.warp.values[slot.index()].map(|value| value as u32),
            None => [0; 32],
        })
    }

    fn put(&mut self, d: &[Slot], result: &[Lanes]) {
        for (slot, lanes) in d.iter().zip(result) {
            self.warp.values[slot.index()] = lanes.map(u64::from);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn load_matrix(
        &mut self,
        pc: u32,
        matrices: usize,
        transpose: bool,
        space: Space,
        offset: i64,
        d: &[Slot],
        s: &[Slot],
    ) -> Outcome {
        let addresses = self.addresses(s[0], offset);
        let mask = u32::MAX >> (32 - 8 * matrices);
        let mut rows = [[0u8; ROW as usize]; 32];
        for group in self.groups(space, &addresses, ROW, mask)? {
            if group.home != Home::Shared {
                return stop(FaultKind::BadPointerSpace, Some(group.mask.trailing_zeros()), "ldmatrix outside .shared");
            }
            self.before_read(pc, &group, AccessKind::Read, ROW)?;
            let data = &self.shared.bank.data;
            for (lane, row) in rows.iter_mut().enumerate().take(8 * matrices) {
                let at = group.offsets[lane] as usize;
                row.copy_from_slice(&data[at..at + ROW as usize]);
            }
        }
        let mut result = [[0; 32]; 4];
        ldmatrix(transpose, &rows[..8 * matrices], &mut result[..matrices]);
        self.put(d, &result[..matrices]);
        Ok(())
    }

    fn store_matrix(
        &mut self,
        pc: u32,
        matrices: usize,
        transpose: bool,
        space: Space,
        offset: i64,
        s: &[Slot],
    ) -> Outcome {
        let addresses = self.addresses(s[0], offset);
        let mask = u32::MAX >> (32 - 8 * matrices);
        let all: [Lanes; 4] = self.fragments(&s[1..]);
        let mut rows = [[0u8; ROW as usize]; 32];
        stmatrix(transpose, &all[..matrices], &mut rows[..8 * matrices]);
        for group in self.groups(space, &addresses, ROW, mask)? {
            if group.home != Home::Shared {
                return stop(FaultKind::BadPointerSpace, Some(group.mask.trailing_zeros()), "stmatrix outside .shared");
            }
            self.before_write(pc, &group, AccessKind::Write, ROW)?;
            let data = &mut self.shared.bank.data;
            for (lane, row) in rows.iter().enumerate().take(8 * matrices) {
                let at = group.offsets[lane] as usize;
                data[at..at + ROW as usize].copy_from_slice(row);
            }
        }
        Ok(())
    }
}
