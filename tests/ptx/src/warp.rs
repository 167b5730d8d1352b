//! The state of one warp: registers, paths of control, local memory, unfinished copies.

use std::collections::VecDeque;

use crate::instruction::{Input, Slot, Special};
use crate::kernel::Kernel;
use crate::memory_map::LOCAL_BASE;
use crate::race::{AsyncWrite, WarpId};
use crate::shadow::Shadow;

/// One register of all lanes. A register narrower than 64 bits has zeros above.
pub(crate) type Register = [u64; 32];

/// Lanes that run together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub pc: u32,
    pub mask: u32,
    /// Where these lanes wait for others; `None` at the outermost level.
    pub reconverge: Option<u32>,
}

/// What a warp is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Waits at this barrier of its block.
    AtBarrier(u32),
    Done,
}

/// A `cp.async` that its lane has not waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    /// Number of the group it belongs to.
    pub group: u32,
    pub write: AsyncWrite,
}

#[derive(Debug)]
pub(crate) struct Warp {
    pub id: WarpId,
    pub state: State,
    pub values: Vec<Register>,
    pub predicates: Vec<u32>,
    /// Lanes that have written each watched register.
    pub written: Vec<u32>,
    /// Paths of control; the last one runs. The lanes of each are among those of the one that it came from.
    pub paths: Vec<Path>,
    /// Lanes that the block size gives this warp.
    pub lanes: u32,
    /// Lanes that have exited.
    pub exited: u32,
    /// Local memory, lane after lane.
    pub local: Vec<u8>,
    pub local_shadow: Shadow,
    pub local_bytes: u32,
    /// Per lane: unfinished copies, oldest first, and the number of committed groups.
    pub copies: Vec<VecDeque<Copy>>,
    pub groups: [u32; 32],
}

/// What the inputs of a warp's registers depend on.
pub(crate) struct Birth<'a> {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub index: [u32; 3],
    pub multiprocessor: u32,
    pub multiprocessors: u32,
    pub dynamic_shared: u32,
    pub total_shared: u32,
    /// Address of each symbol of the kernel.
    pub symbols: &'a [u64],
}

impl Warp {
    pub fn new(kernel: &Kernel, id: WarpId, birth: &Birth<'_>) -> Warp {
        let threads = birth.block.iter().product::<u32>();
        let count = (threads - id.warp * 32).min(32);
        let lanes = u32::MAX >> (32 - count);
        let local_bytes = kernel.local_end - LOCAL_BASE;
        let mut warp = Warp {
            id,
            state: State::Running,
            values: vec![[0; 32]; kernel.values as usize],
            predicates: vec![0; kernel.predicates as usize],
            written: vec![0; kernel.asked.len()],
            paths: vec![Path { pc: 0, mask: lanes, reconverge: None }],
            lanes,
            exited: 0,
            local: vec![0; local_bytes as usize * 32],
            local_shadow: Shadow::uninitialised(local_bytes as usize * 32),
            local_bytes,
            copies: vec![VecDeque::new(); 32],
            groups: [0; 32],
        };
        for &(slot, input) in &kernel.inputs {
            let value = |lane: u32| match input {
                Input::Immediate(bits) => bits,
                Input::Symbol { symbol, offset } => birth.symbols[symbol as usize].wrapping_add_signed(offset),
                Input::Special(special) => u64::from(special_value(special, id.warp, lane, birth)),
            };
            warp.values[slot.index()] = std::array::from_fn(|lane| value(lane as u32));
        }
        warp
    }

    pub fn path(&self) -> Path {
        *self.paths.last().expect("a running warp has a path")
    }

    /// Lanes of `mask` for which the predicate holds.
    pub fn predicate(&self, slot: Slot) -> u32 {
        let bits = self.predicates[slot.index()];
        if slot.is_negated() { !bits } else { bits }
    }

    pub fn set_predicate(&mut self, slot: Slot, mask: u32, bits: u32) {
        let old = &mut self.predicates[slot.index()];
        *old = *old & !mask | bits & mask;
    }

    pub fn set(&mut self, slot: Slot, mask: u32, value: &Register) {
        let register = &mut self.values[slot.index()];
        if mask == u32::MAX {
            *register = *value;
        } else {
            for lane in 0..32 {
                if mask >> lane & 1 != 0 {
                    register[lane] = value[lane];
                }
            }
        }
    }

    /// Goes on with the next instruction.
    pub fn advance(&mut self) {
        let path = self.paths.last_mut().expect("a running warp has a path");
        path.pc += 1;
        self.join();
    }

    /// Splits the running lanes: each part goes on at its place, and all meet again at `reconverge`. The last part
    /// runs first. Parts with no lane are left out.
    pub fn split(&mut self, parts: &[(u32, u32)], reconverge: Option<u32>) {
        let path = self.paths.pop().expect("a running warp has a path");
        let mut live = parts.iter().filter(|part| part.1 != 0);
        if let (Some(&(pc, mask)), None) = (live.next(), live.next()) {
            self.paths.push(Path { pc, mask, ..path });
            self.join();
            return;
        }
        let meeting = reconverge.or(path.reconverge);
        if let Some(pc) = meeting
            && path.reconverge != meeting
        {
            self.paths.push(Path { pc, ..path });
        }
        for &(pc, mask) in parts.iter().filter(|part| part.1 != 0 && Some(part.0) != meeting) {
            self.paths.push(Path { pc, mask, reconverge: meeting });
        }
        self.join();
    }

    /// The running lanes among `mask` leave the kernel. The others, if any, go on with the next instruction.
    pub fn exit(&mut self, mask: u32) {
        self.exited |= mask;
        let path = self.paths.last_mut().expect("a running warp has a path");
        path.pc += 1;
        for path in &mut self.paths {
            path.mask &= !mask;
        }
        self.join();
        if self.paths.is_empty() {
            self.state = State::Done;
        }
    }

    /// Drops paths that have arrived where they meet others, or have lost all lanes.
    fn join(&mut self) {
        while let Some(path) = self.paths.last() {
            if path.mask != 0 && path.reconverge != Some(path.pc) {
                break;
            }
            self.paths.pop();
        }
    }
}

fn special_value(special: Special, warp: u32, lane: u32, birth: &Birth<'_>) -> u32 {
    let [width, height, _] = birth.block;
    let thread = warp * 32 + lane;
    match special {
        Special::ThreadIndex(0) => thread % width,
        Special::ThreadIndex(1) => thread / width % height,
        Special::ThreadIndex(_) => thread / (width * height),
        Special::BlockSize(axis) => birth.block[axis as usize],
        Special::BlockIndex(axis) => birth.index[axis as usize],
        Special::GridSize(axis) => birth.grid[axis as usize],
        Special::Lane => lane,
        Special::Warp => warp,
        Special::WarpCount => birth.block.iter().product::<u32>().div_ceil(32),
        Special::Multiprocessor => birth.multiprocessor,
        Special::MultiprocessorCount => birth.multiprocessors,
        Special::LaneMaskEqual => 1 << lane,
        Special::LaneMaskLess => (1 << lane) - 1,
        Special::LaneMaskLessEqual => u32::MAX >> (31 - lane),
        Special::LaneMaskGreater => !(u32::MAX >> (31 - lane)),
        Special::LaneMaskGreaterEqual => u32::MAX << lane,
        Special::DynamicShared => birth.dynamic_shared,
        Special::TotalShared => birth.total_shared,
    }
}
