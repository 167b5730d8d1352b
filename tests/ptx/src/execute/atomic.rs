//! Atomics (PTX ISA 9.7.13.6, 9.7.13.7), lane after lane.

use super::address::{Group, Home};
use super::{Outcome, Run, lanes, stop};
use crate::fault::FaultKind;
use crate::instruction::{Atomic, AtomicOp, IntegerType, Slot};
use crate::numeric::{FloatMode, HalfMode, add_f32, add_f64, pairwise};
use crate::race::AccessKind;

impl Run<'_> {
    pub(super) fn atomic(&mut self, pc: u32, atomic: &Atomic, d: &[Slot], s: &[Slot], mask: u32) -> Outcome {
        let bytes = atomic.kind.bits / 8;
        let addresses = self.addresses(s[0], atomic.offset);
        let (order, scope) = (atomic.order, atomic.scope);
        let kind =
            if atomic.returns { AccessKind::Atomic { order, scope } } else { AccessKind::Reduce { order, scope } };
        for group in self.groups(atomic.space, &addresses, bytes, mask)? {
            if let Home::Local | Home::Parameter = group.home {
                let lane = Some(group.mask.trailing_zeros());
                return stop(FaultKind::BadPointerSpace, lane, "atomic outside global and shared memory");
            }
            if let Home::Global(index) = group.home {
                self.note_written(index, &group, bytes)?;
            }
            // One access to the detector: as a read it asks for written bytes, and an atomic only changes those.
            self.before_read(pc, &group, kind, bytes)?;
            self.apply_atomic(atomic, &group, d, s);
        }
        Ok(())
    }

    fn apply_atomic(&mut self, atomic: &Atomic, group: &Group, d: &[Slot], s: &[Slot]) {
        let bytes = atomic.kind.bits as usize / 8;
        let b = self.warp.values[s[1].index()];
        let c = s.get(2).map(|slot| self.warp.values[slot.index()]);
        // f32 additions to global memory flush subnormals, those to shared memory do not (PTX ISA 9.7.13.6).
        let flush = matches!(group.home, Home::Global(_));
        let data = match group.home {
            Home::Global(index) => &mut self.memory.get_mut(index).bank.data,
            _ => &mut self.shared.bank.data,
        };
        let mut old = [0; 32];
        for lane in lanes(group.mask) {
            let at = group.offsets[lane] as usize;
            let mut word = [0; 8];
            word[..bytes].copy_from_slice(&data[at..at + bytes]);
            old[lane] = u64::from_le_bytes(word);
            let new = match c {
                Some(c) => {
                    if old[lane] == b[lane] {
                        c[lane]
                    } else {
                        old[lane]
                    }
                }
                None => updated(atomic.op, atomic.kind, old[lane], b[lane], flush),
            };
            data[at..at + bytes].copy_from_slice(&new.to_le_bytes()[..bytes]);
        }
        if let Some(&d) = d.first() {
            self.warp.set(d, group.mask, &old);
        }
    }
}

fn updated(op: AtomicOp, kind: IntegerType, old: u64, b: u64, flush: bool) -> u64 {
    let extend = |value: u64| (value << (64 - kind.bits)) as i64;
    let less = |a: u64, b: u64| if kind.signed { extend(a) < extend(b) } else { a < b };
    match op {
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::AddSingle => u64::from(add_f32(old as u32, b as u32, FloatMode { flush, ..FloatMode::default() })),
        AtomicOp::AddDouble => add_f64(old, b),
        AtomicOp::AddHalf(kind) => u64::from(kind.add(old as u16, b as u16, HalfMode::default())),
        AtomicOp::AddHalfPair(kind) => {
            u64::from(pairwise(old as u32, b as u32, |a, b| kind.add(a, b, HalfMode::default())))
        }
        AtomicOp::Minimum => {
            if less(b, old) {
                b
            } else {
                old
            }
        }
        AtomicOp::Maximum => {
            if less(old, b) {
                b
            } else {
                old
            }
        }
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exchange => b,
        AtomicOp::Compare => unreachable!("a compare-and-swap has a third operand"),
        AtomicOp::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Decrement => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}
