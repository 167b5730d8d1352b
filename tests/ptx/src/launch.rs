//! One launch: blocks come and go, warps take turns.

use crate::barrier::{self, BARRIERS, Barrier};
use crate::execute::{Frame, Outcome, Run, Shared, Stop};
use crate::fault::{Fault, FaultKind, Place};
use crate::instruction::Op;
use crate::kernel::{Kernel, Range, Symbol};
use crate::memory::{Bank, Memory};
use crate::memory_map::{GUARD_BYTES, SHARED_BASE};
use crate::race::{Clocks, WarpId};
use crate::schedule::Chooser;
use crate::warp::{Birth, State, Warp};

/// Instructions of one warp in a row under a fixed order: others get a turn even if it spins.
const LONGEST_TURN: u64 = 1 << 14;

/// Shared memory that a block can have, by compute capability (CUDA C++ Programming Guide, technical specifications per
/// compute capability). A target that is not listed gets what its neighbour below has.
const SHARED_LIMITS: [(u32, u32); 8] = [
    (70, 96 << 10),
    (75, 64 << 10),
    (80, 163 << 10),
    (86, 99 << 10),
    (87, 163 << 10),
    (89, 99 << 10),
    (90, 227 << 10),
    (120, 99 << 10),
];

/// Static shared memory that a kernel can have on every GPU.
const STATIC_LIMIT: u32 = 48 << 10;

/// What a launch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaunchStats {
    /// Instructions, counted once per warp.
    pub steps: u64,
    /// Warps that ran.
    pub warps: u64,
}

/// A launch as asked for.
pub(crate) struct Request<'a> {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub parameters: &'a [u8],
    /// Addresses of the module's variables, by index; 0 for those outside global and constant memory.
    pub variables: &'a [u64],
    pub resident_blocks: usize,
    pub max_steps: u64,
}

struct Block {
    linear: u32,
    index: [u32; 3],
    shared: Shared,
    warps: Vec<Warp>,
    barriers: [Barrier; BARRIERS],
}

/// A launch under way.
pub(crate) struct Launch<'a> {
    kernel: &'a Kernel,
    request: Request<'a>,
    frame: Frame,
    memory: &'a mut Memory,
    clocks: Clocks,
    chooser: Chooser,
    symbols: Vec<u64>,
    /// Shared variables, the dynamic one last.
    ranges: Vec<Range>,
    shared_end: u32,
    pending: Vec<u32>,
    resident: Vec<Option<Block>>,
    stats: LaunchStats,
}

/// Where dynamic shared memory starts.
fn dynamic_start(kernel: &Kernel) -> u32 {
    let gap = if kernel.shared.is_empty() { 0 } else { GUARD_BYTES };
    // The driver aligns it to at least 16 bytes.
    (kernel.shared_end + gap).next_multiple_of(kernel.dynamic_align.unwrap_or(1).max(16))
}

/// Checks that the launch fits the kernel.
pub(crate) fn check(kernel: &Kernel, request: &Request<'_>) -> Result<(), Fault> {
    let refuse = |detail: String| Err(Fault::new(FaultKind::BadLaunch, format!("{}: {detail}", kernel.name)));
    let Request { grid, block, dynamic_shared, parameters, .. } = request;
    if parameters.len() != kernel.parameter_bytes as usize {
        return refuse(format!("{} parameter bytes given, {} expected", parameters.len(), kernel.parameter_bytes));
    }
    let threads: u64 = block.iter().map(|&size| u64::from(size)).product();
    if threads == 0 || threads > 1024 || block[2] > 64 {
        return refuse(format!("a block of {block:?} threads"));
    }
    if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        return refuse(format!("a grid of {grid:?} blocks"));
    }
    if grid.iter().map(|&size| u64::from(size)).product::<u64>() > u64::from(u32::MAX) {
        return refuse(format!("a grid of {grid:?} blocks is more than this interpreter counts"));
    }
    if let Some(limit) = kernel.max_threads
        && threads > limit.iter().map(|&size| u64::from(size)).product()
    {
        return refuse(format!("a block of {block:?} threads, .maxntid {limit:?}"));
    }
    if let Some(required) = kernel.required_threads
        && *block != required
    {
        return refuse(format!("a block of {block:?} threads, .reqntid {required:?}"));
    }
    let fixed: u32 = kernel.shared.iter().map(|range| range.bytes).sum();
    let limit = SHARED_LIMITS.iter().rev().find(|row| row.0 <= kernel.target).map_or(STATIC_LIMIT, |row| row.1);
    if fixed > STATIC_LIMIT || u64::from(fixed) + u64::from(*dynamic_shared) > u64::from(limit) {
        let target = kernel.target;
        return refuse(format!(
            "{fixed} bytes of static and {dynamic_shared} of dynamic shared memory; sm_{target} has {limit}"
        ));
    }
    if *dynamic_shared > 0 && kernel.dynamic_align.is_none() {
        return refuse(format!("{dynamic_shared} bytes of dynamic shared memory for a kernel that uses none"));
    }
    Ok(())
}

impl<'a> Launch<'a> {
    pub fn new(kernel: &'a Kernel, memory: &'a mut Memory, chooser: Chooser, request: Request<'a>) -> Launch<'a> {
        let dynamic = dynamic_start(kernel);
        let symbols = kernel.symbols.iter().map(|symbol| match symbol {
            Symbol::Module(index) => request.variables[*index as usize],
            Symbol::Fixed(address) => *address,
            Symbol::DynamicShared => u64::from(dynamic),
        });
        let symbols = symbols.collect();
        let mut ranges = kernel.shared.clone();
        let mut shared_end = kernel.shared_end;
        if request.dynamic_shared > 0 {
            let name = "dynamic shared memory".to_owned();
            ranges.push(Range { name, start: dynamic, bytes: request.dynamic_shared });
            shared_end = dynamic + request.dynamic_shared;
        }
        memory.begin_launch(kernel.reads_noncoherent);
        let blocks = request.grid.iter().product::<u32>();
        let resident = request.resident_blocks.max(1).min(blocks as usize);
        Launch {
            kernel,
            frame: Frame { parameters: request.parameters.to_vec() },
            memory,
            clocks: Clocks::new(request.block.iter().product()),
            chooser,
            symbols,
            ranges,
            shared_end,
            pending: (0..blocks).rev().collect(),
            resident: (0..resident).map(|_| None).collect(),
            stats: LaunchStats::default(),
            request,
        }
    }

    /// Runs until all blocks are done.
    pub fn run(mut self) -> Result<LaunchStats, Fault> {
        let warps = self.request.block.iter().product::<u32>().div_ceil(32) as usize;
        loop {
            self.admit();
            if self.resident.iter().all(Option::is_none) {
                return Ok(self.stats);
            }
            let count = self.resident.len() * warps;
            let start = self.chooser.start(count);
            let runnable =
                (0..count).map(|step| (start + step) % count).find(|&at| self.can_run(at / warps, at % warps));
            let Some(at) = runnable else { return Err(self.deadlock()) };
            self.chooser.chose(at);
            self.turn(at / warps, at % warps)?;
        }
    }

    fn can_run(&self, slot: usize, warp: usize) -> bool {
        self.resident[slot].as_ref().is_some_and(|block| block.warps[warp].state == State::Running)
    }

    /// Fills empty places with the next blocks.
    fn admit(&mut self) {
        for slot in 0..self.resident.len() {
            if self.resident[slot].is_none() && !self.pending.is_empty() {
                // The last is the lowest; a random schedule takes any.
                let back = self.chooser.block(self.pending.len());
                let at = self.pending.len() - 1 - back;
                let linear = self.pending.swap_remove(at);
                let block = self.start_block(slot, linear);
                self.resident[slot] = Some(block);
            }
        }
    }

    fn start_block(&mut self, slot: usize, linear: u32) -> Block {
        let [width, height, _] = self.request.grid;
        let index = [linear % width, linear / width % height, linear / (width * height)];
        let bytes = self.shared_end - SHARED_BASE;
        let birth = Birth {
            grid: self.request.grid,
            block: self.request.block,
            index,
            multiprocessor: slot as u32,
            multiprocessors: self.resident.len() as u32,
            dynamic_shared: self.request.dynamic_shared,
            total_shared: bytes,
            symbols: &self.symbols,
        };
        let count = self.request.block.iter().product::<u32>().div_ceil(32);
        let warps = (0..count).map(|warp| Warp::new(self.kernel, WarpId { block: linear, warp }, &birth)).collect();
        self.clocks.start_block(linear);
        self.stats.warps += u64::from(count);
        Block {
            linear,
            index,
            shared: Shared { bank: Bank::new(bytes), ranges: self.ranges.clone() },
            warps,
            barriers: Default::default(),
        }
    }

    /// Lets one warp run for a while.
    fn turn(&mut self, slot: usize, warp: usize) -> Result<(), Fault> {
        let mut burst = self.chooser.burst();
        let mut block = self.resident[slot].take().expect("the chosen block is resident");
        let end = self.stats.steps + LONGEST_TURN;
        while block.warps[warp].state == State::Running && burst > 0 && self.stats.steps < end {
            let pc = block.warps[warp].path().pc;
            let instruction = &self.kernel.code[pc as usize];
            if instruction.op.is_visible() {
                burst -= 1;
            }
            if let Err(reason) = self.step(&mut block, warp, pc) {
                return Err(self.fault(&block, warp as u32, pc, *reason));
            }
        }
        if block.warps.iter().all(|warp| warp.state == State::Done) {
            self.clocks.finish_block(block.linear);
        } else {
            self.resident[slot] = Some(block);
        }
        Ok(())
    }

    fn step(&mut self, block: &mut Block, warp: usize, pc: u32) -> Outcome {
        if self.stats.steps >= self.request.max_steps {
            let detail = format!("{} instructions and no end", self.request.max_steps);
            return crate::execute::stop(FaultKind::StepLimit, None, detail);
        }
        self.stats.steps += 1;
        let instruction = &self.kernel.code[pc as usize];
        let branches = matches!(instruction.op, Op::Branch { .. });
        let fall_through_first = branches && self.chooser.toss();
        let mut run = Run {
            kernel: self.kernel,
            frame: &self.frame,
            memory: self.memory,
            clocks: &mut self.clocks,
            shared: &mut block.shared,
            warp: &mut block.warps[warp],
            time: self.stats.steps,
            fall_through_first,
        };
        let mask = run.mask(instruction)?;
        if let Op::Barrier { kind, counted } = instruction.op {
            if instruction.tells {
                run.tell(instruction, mask);
            }
            let arrival = (kind, counted, mask);
            return barrier::arrive(
                &mut block.barriers,
                &mut block.warps,
                &mut self.clocks,
                self.kernel,
                instruction,
                warp,
                arrival,
            );
        }
        run.step(pc, instruction, mask)?;
        if run.is_done() {
            barrier::departed(&mut block.barriers, &mut block.warps, &mut self.clocks)?;
        }
        Ok(())
    }

    fn fault(&self, block: &Block, warp: u32, pc: u32, reason: Stop) -> Fault {
        let note = &self.kernel.notes[pc as usize];
        let place = Place {
            kernel: self.kernel.name.clone(),
            block: block.index,
            warp,
            lane: reason.lane,
            instruction: note.text.clone(),
            line: note.line,
            source: note.source.clone(),
        };
        Fault { kind: reason.kind, detail: reason.detail, place: Some(Box::new(place)) }
    }

    fn deadlock(&self) -> Fault {
        let mut words = Vec::new();
        let mut first = None;
        for block in self.resident.iter().flatten() {
            let (who, at) = barrier::waiting(&block.barriers, self.kernel);
            if first.is_none() {
                first = at.map(|at| (block, at));
            }
            words.push(format!("block {:?}: {}", block.index, who.join(", ")));
        }
        let detail = words.join("; ");
        match first {
            None => Fault::new(FaultKind::BarrierDeadlock, detail),
            Some((block, (warp, pc))) => {
                let reason = Stop { kind: FaultKind::BarrierDeadlock, detail, lane: None };
                self.fault(block, warp, pc, reason)
            }
        }
    }
}
