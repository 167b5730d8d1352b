//! Runs one instruction of one warp.

mod address;
mod arithmetic;
mod atomic;
mod bulk;
mod collective;
mod compare;
mod data;
mod float;
mod integer;
mod memory;
mod tensor;

use crate::fault::FaultKind;
use crate::instruction::{Instruction, Op, Slot};
use crate::kernel::{Kernel, Range};
use crate::memory::{Bank, Memory};
use crate::race::Clocks;
use crate::warp::{State, Warp};

/// A fault without its place.
#[derive(Debug)]
pub(crate) struct Stop {
    pub kind: FaultKind,
    pub detail: String,
    pub lane: Option<u32>,
}

pub(crate) type Outcome<T = ()> = Result<T, Box<Stop>>;

pub(crate) fn stop<T>(kind: FaultKind, lane: Option<u32>, detail: impl Into<String>) -> Outcome<T> {
    Err(Box::new(Stop { kind, detail: detail.into(), lane }))
}

/// What is the same for all warps of a launch.
#[derive(Debug)]
pub(crate) struct Frame {
    pub parameters: Vec<u8>,
}

/// Shared memory of one block.
#[derive(Debug)]
pub(crate) struct Shared {
    pub bank: Bank,
    /// Variables, the dynamic one last.
    pub ranges: Vec<Range>,
}

/// A warp and what it reaches.
pub(crate) struct Run<'a> {
    pub kernel: &'a Kernel,
    pub frame: &'a Frame,
    pub memory: &'a mut Memory,
    pub clocks: &'a mut Clocks,
    pub shared: &'a mut Shared,
    pub warp: &'a mut Warp,
    /// Steps of the launch so far: what clocks count.
    pub time: u64,
    /// Whether the lanes that do not branch run before those that do.
    pub fall_through_first: bool,
}

/// Lanes set in `mask`.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 != 0)
}

impl<'a> Run<'a> {
    /// Runs the warp's next instruction, which is no block barrier.
    pub fn step(&mut self, pc: u32, instruction: &'a Instruction, mask: u32) -> Outcome {
        match &instruction.op {
            Op::Branch { target, uniform } => return self.branch(pc, mask, *target, *uniform),
            Op::BranchIndexed { targets, uniform } => {
                return self.branch_indexed(pc, mask, instruction, targets, *uniform);
            }
            Op::Exit => {
                self.unfinished_copies(mask)?;
                self.warp.exit(mask);
                return Ok(());
            }
            Op::Trap if mask != 0 => {
                return stop(FaultKind::Trap, Some(mask.trailing_zeros()), "the kernel stopped itself");
            }
            _ if mask == 0 => {}
            _ => self.apply(pc, instruction, mask)?,
        }
        if instruction.tells {
            self.tell(instruction, mask);
        }
        self.warp.advance();
        Ok(())
    }

    /// Lanes that run `instruction`, after a check that they have written what it reads.
    pub fn mask(&self, instruction: &Instruction) -> Outcome<u32> {
        let mut mask = self.warp.path().mask;
        if let Some(guard) = instruction.guard {
            if instruction.asks {
                self.ask(guard, mask)?;
            }
            mask &= self.warp.predicate(guard);
        }
        if instruction.asks {
            for &slot in self.kernel.sources(instruction) {
                self.ask(slot, mask)?;
            }
        }
        Ok(mask)
    }

    fn watched(&self, slot: Slot) -> Option<u32> {
        let kernel = self.kernel;
        let map = if slot.is_predicate() { &kernel.asked_predicates } else { &kernel.asked_values };
        map[slot.index()]
    }

    fn ask(&self, slot: Slot, mask: u32) -> Outcome {
        let Some(index) = self.watched(slot) else { return Ok(()) };
        let missing = mask & !self.warp.written[index as usize];
        if missing == 0 {
            return Ok(());
        }
        let name = &self.kernel.asked[index as usize];
        stop(FaultKind::UninitialisedRegister, Some(missing.trailing_zeros()), format!("`{name}`"))
    }

    /// Notes that the lanes have written the instruction's destinations.
    pub fn tell(&mut self, instruction: &Instruction, mask: u32) {
        for &slot in self.kernel.destinations(instruction) {
            if let Some(index) = self.watched(slot) {
                self.warp.written[index as usize] |= mask;
            }
        }
    }

    fn branch(&mut self, pc: u32, taken: u32, target: u32, uniform: bool) -> Outcome {
        let path = self.warp.path();
        let stays = path.mask & !taken;
        if uniform && taken != 0 && stays != 0 {
            return stop(FaultKind::DivergentCollective, Some(stays.trailing_zeros()), "a `.uni` branch diverges");
        }
        let mut parts = [(pc + 1, stays), (target, taken)];
        if self.fall_through_first {
            parts.swap(0, 1);
        }
        self.warp.split(&parts, self.kernel.reconvergence[pc as usize]);
        Ok(())
    }

    fn branch_indexed(
        &mut self,
        pc: u32,
        mask: u32,
        instruction: &Instruction,
        targets: &[u32],
        uniform: bool,
    ) -> Outcome {
        let index = self.warp.values[self.kernel.sources(instruction)[0].index()];
        let mut parts = vec![(pc + 1, self.warp.path().mask & !mask)];
        for lane in lanes(mask) {
            let Some(&target) = targets.get(index[lane] as usize) else {
                let detail = format!("index {} of a list of {} branch targets", index[lane], targets.len());
                return stop(FaultKind::OutOfBounds, Some(lane as u32), detail);
            };
            match parts[1..].iter_mut().find(|part| part.0 == target) {
                Some(part) => part.1 |= 1 << lane,
                None => parts.push((target, 1 << lane)),
            }
        }
        if uniform && parts.len() > 2 {
            return stop(FaultKind::DivergentCollective, None, "a `.uni` branch diverges");
        }
        self.warp.split(&parts, self.kernel.reconvergence[pc as usize]);
        Ok(())
    }

    /// A lane that leaves with copies under way never learns that they arrived, and shared memory may go first.
    fn unfinished_copies(&self, mask: u32) -> Outcome {
        for lane in lanes(mask) {
            if !self.warp.copies[lane].is_empty() {
                let detail = "the lane exits before it waits for its cp.async";
                return stop(FaultKind::CpAsyncInFlight, Some(lane as u32), detail);
            }
        }
        Ok(())
    }

    fn apply(&mut self, pc: u32, instruction: &'a Instruction, mask: u32) -> Outcome {
        let kernel = self.kernel;
        let (d, s) = (kernel.destinations(instruction), kernel.sources(instruction));
        match &instruction.op {
            Op::Load { transfer, noncoherent } => self.load(pc, transfer, *noncoherent, d, s, mask),
            Op::Store(transfer) => self.store(pc, transfer, s, mask),
            Op::Atomic(atomic) => self.atomic(pc, atomic, d, s, mask),
            Op::Prefetch { space, offset } => self.prefetch(*space, *offset, s, mask),
            Op::CopyAsync { bytes, to_offset, from_offset, size, ignore } => {
                let copy =
                    bulk::CopyShape { bytes: *bytes, to: *to_offset, from: *from_offset, size: *size, ignore: *ignore };
                self.copy_async(pc, &copy, s, mask)
            }
            Op::CommitGroup => {
                lanes(mask).for_each(|lane| self.warp.groups[lane] += 1);
                Ok(())
            }
            Op::WaitGroup(pending) => {
                self.wait_group(*pending, mask);
                Ok(())
            }
            Op::Fence(scope) => {
                self.clocks.fence(self.warp.id, mask, *scope);
                Ok(())
            }
            Op::WarpBarrier
            | Op::Shuffle(_)
            | Op::Vote(_)
            | Op::MatchAny { .. }
            | Op::MatchAll { .. }
            | Op::Reduce(_)
            | Op::Elect
            | Op::ActiveMask => self.collective(&instruction.op, d, s, mask),
            Op::LoadMatrix { .. } | Op::StoreMatrix { .. } | Op::MoveMatrix | Op::Mma(_) | Op::SparseMma(_) => {
                self.matrix(pc, &instruction.op, d, s, mask)
            }
            Op::Branch { .. } | Op::BranchIndexed { .. } | Op::Exit | Op::Trap | Op::Barrier { .. } => {
                unreachable!("control and block barriers are handled before")
            }
            op => {
                self.compute(op, d, s, mask);
                Ok(())
            }
        }
    }

    /// Whether the warp is done after this step.
    pub fn is_done(&self) -> bool {
        self.warp.state == State::Done
    }
}
