//! Warp collectives (PTX ISA 9.7.9.6, 9.7.13.9 to 9.7.13.13).
//!
//! Each lane that runs one must be named by its own mask, and all lanes of a mask must run it together with that same
//! mask. A warp may run one collective in several groups.

use super::{Outcome, Run, lanes, stop};
use crate::fault::FaultKind;
use crate::instruction::{Op, ReduceOp, ShuffleMode, Slot, VoteMode};
use crate::warp::Register;

impl Run<'_> {
    pub(super) fn collective(&mut self, op: &Op, d: &[Slot], s: &[Slot], mask: u32) -> Outcome {
        match op {
            Op::ActiveMask => {
                self.warp.set(d[0], mask, &[u64::from(mask); 32]);
                return Ok(());
            }
            Op::Shuffle(mode) => return self.shuffle(*mode, d, s, mask),
            _ => {}
        }
        let named = *s.last().expect("collectives name their lanes");
        for group in self.member_groups(named, mask)? {
            self.group_collective(op, d, s, group);
        }
        Ok(())
    }

    /// The running lanes by their member masks, each group complete.
    fn member_groups(&self, named: Slot, mask: u32) -> Outcome<Vec<u32>> {
        let members = &self.warp.values[named.index()];
        let mut groups = Vec::with_capacity(1);
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros();
            let group = members[first as usize] as u32;
            if group >> first & 1 == 0 {
                return stop(FaultKind::PartialMask, Some(first), format!("its mask {group:#010x} does not name it"));
            }
            let absent = group & !mask;
            if absent != 0 {
                return self.absent(group, absent, first);
            }
            if let Some(lane) = lanes(group).find(|&lane| members[lane] as u32 != group) {
                let detail = format!("its mask is {:#010x}, that of lane {first} is {group:#010x}", members[lane]);
                return stop(FaultKind::PartialMask, Some(lane as u32), detail);
            }
            groups.push(group);
            rest &= !group;
        }
        Ok(groups)
    }

    fn absent<T>(&self, group: u32, absent: u32, first: u32) -> Outcome<T> {
        let lane = absent.trailing_zeros();
        let why = if self.warp.exited >> lane & 1 != 0 {
            "has exited"
        } else if self.warp.lanes >> lane & 1 == 0 {
            "does not exist in this block"
        } else {
            "is elsewhere"
        };
        let detail = format!("mask {group:#010x} of lane {first} names lane {lane}, which {why}");
        stop(FaultKind::PartialMask, Some(lane), detail)
    }

    fn group_collective(&mut self, op: &Op, d: &[Slot], s: &[Slot], group: u32) {
        let first = group.trailing_zeros() as usize;
        match op {
            Op::WarpBarrier => self.clocks.warp_barrier(self.warp.id, group),
            Op::Vote(mode) => {
                let yes = self.warp.predicate(s[0]) & group;
                let truth = match mode {
                    VoteMode::Ballot => return self.warp.set(d[0], group, &[u64::from(yes); 32]),
                    VoteMode::All => yes == group,
                    VoteMode::Any => yes != 0,
                    VoteMode::Uniform => yes == group || yes == 0,
                };
                self.warp.set_predicate(d[0], group, if truth { u32::MAX } else { 0 });
            }
            Op::MatchAny { bits } => {
                let keep = u64::MAX >> (64 - bits);
                let value = self.warp.values[s[0].index()];
                let same = |lane: usize| {
                    let equal = |&other: &usize| (value[other] ^ value[lane]) & keep == 0;
                    lanes(group).filter(equal).fold(0u64, |mask, other| mask | 1 << other)
                };
                self.warp.set(d[0], group, &std::array::from_fn(same));
            }
            Op::MatchAll { bits } => {
                let keep = u64::MAX >> (64 - bits);
                let value = &self.warp.values[s[0].index()];
                let all = lanes(group).all(|lane| (value[lane] ^ value[first]) & keep == 0);
                self.warp.set(d[0], group, &[if all { u64::from(group) } else { 0 }; 32]);
                if let Some(&p) = d.get(1) {
                    self.warp.set_predicate(p, group, if all { u32::MAX } else { 0 });
                }
            }
            Op::Reduce(op) => {
                let value = &self.warp.values[s[0].index()];
                let parts = lanes(group).map(|lane| value[lane] as u32);
                let total = parts.reduce(|a, b| reduce(*op, a, b)).expect("a group has lanes");
                self.warp.set(d[0], group, &[u64::from(total); 32]);
            }
            Op::Elect => {
                self.warp.set(d[0], group, &[first as u64; 32]);
                self.warp.set_predicate(d[1], group, 1 << first);
            }
            _ => unreachable!("{op:?} is no collective"),
        }
    }

    fn shuffle(&mut self, mode: ShuffleMode, d: &[Slot], s: &[Slot], mask: u32) -> Outcome {
        let groups = self.member_groups(s[3], mask)?;
        let values = &self.warp.values;
        let (a, b, c) = (&values[s[0].index()], &values[s[1].index()], &values[s[2].index()]);
        let mut result: Register = [0; 32];
        let mut inside = 0;
        for &group in &groups {
            for lane in lanes(group) {
                let (from, in_range) = source_lane(mode, lane as u32, b[lane] as u32, c[lane] as u32);
                if group >> from & 1 == 0 {
                    let why = if self.warp.exited >> from & 1 != 0 { "has exited" } else { "is not in its mask" };
                    let detail = format!("reads lane {from}, which {why}");
                    return stop(FaultKind::PartialMask, Some(lane as u32), detail);
                }
                result[lane] = a[from as usize];
                inside |= u32::from(in_range) << lane;
            }
        }
        self.warp.set(d[0], mask, &result);
        if let Some(&p) = d.get(1) {
            self.warp.set_predicate(p, mask, inside);
        }
        Ok(())
    }
}

/// The lane that `lane` reads, and whether it is in range; out of range a lane reads itself (PTX ISA 9.7.9.6).
fn source_lane(mode: ShuffleMode, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let last = lane & segment | clamp & !segment;
    let first = lane & segment;
    let (from, in_range) = match mode {
        ShuffleMode::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= last as i32),
        ShuffleMode::Down => (lane + b, lane + b <= last),
        ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= last),
        ShuffleMode::Index => (first | b & !segment, first | b & !segment <= last),
    };
    (if in_range { from } else { lane }, in_range)
}

fn reduce(op: ReduceOp, a: u32, b: u32) -> u32 {
    match op {
        ReduceOp::Add => a.wrapping_add(b),
        ReduceOp::Minimum { signed: true } => (a as i32).min(b as i32) as u32,
        ReduceOp::Maximum { signed: true } => (a as i32).max(b as i32) as u32,
        ReduceOp::Minimum { signed: false } => a.min(b),
        ReduceOp::Maximum { signed: false } => a.max(b),
        ReduceOp::And => a & b,
        ReduceOp::Or => a | b,
        ReduceOp::Xor => a ^ b,
    }
}
