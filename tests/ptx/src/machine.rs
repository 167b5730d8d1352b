//! The device as the host sees it.

use std::collections::HashMap;

use crate::fault::{Fault, FaultKind};
use crate::launch::{Launch, LaunchStats, Request, check};
use crate::memory::Memory;
use crate::module::Module;
use crate::schedule::{Chooser, Schedule};
use crate::syntax::{Initialiser, Space};

/// How a machine runs kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub schedule: Schedule,
    /// Blocks whose warps take turns; the others wait.
    pub resident_blocks: usize,
    /// Instructions per launch, counted once per warp, after which a launch counts as stuck.
    pub max_steps: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { schedule: Schedule::RoundRobin, resident_blocks: 2, max_steps: 1 << 28 }
    }
}

/// A device: memory and a way to run kernels.
#[derive(Debug)]
pub struct Machine {
    options: Options,
    memory: Memory,
    /// Addresses of each known module's variables.
    modules: HashMap<u64, Vec<u64>>,
}

impl Machine {
    pub fn new(options: Options) -> Machine {
        Machine { options, memory: Memory::default(), modules: HashMap::new() }
    }

    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.options.schedule = schedule;
    }

    /// Takes `bytes` bytes of global memory, 256-byte aligned, with a gap behind that belongs to nobody. The contents
    /// are uninitialised. `name` is what faults call the allocation.
    pub fn allocate(&mut self, bytes: usize, name: &str) -> u64 {
        self.memory.allocate(bytes, name)
    }

    /// Gives an allocation back; its addresses are not used again.
    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        self.memory.free(address)
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.memory.write(address, bytes)
    }

    /// Reads memory; a byte that nobody wrote is a fault.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.memory.read(address, bytes)
    }

    /// Copies within the device. Uninitialised bytes stay uninitialised.
    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        self.memory.copy(to, from, bytes)
    }

    pub fn fill(&mut self, address: u64, byte: u8, bytes: usize) -> Result<(), Fault> {
        self.memory.fill(address, byte, bytes)
    }

    /// Runs a kernel to its end. `params` is its whole parameter space: one struct, or scalars at their natural
    /// alignment. After a fault the memory is as the kernel left it.
    #[allow(clippy::too_many_arguments)]
    pub fn launch(
        &mut self,
        module: &Module,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: u32,
        params: &[u8],
    ) -> Result<LaunchStats, Fault> {
        let Some(found) = module.kernels.get(kernel) else {
            let detail = format!("module {} has no kernel `{kernel}`", module.name);
            return Err(Fault::new(FaultKind::BadLaunch, detail));
        };
        let memory = &mut self.memory;
        let variables = self.modules.entry(module.id).or_insert_with(|| place_variables(memory, module));
        let request = Request {
            grid,
            block,
            dynamic_shared,
            parameters: params,
            variables,
            resident_blocks: self.options.resident_blocks,
            max_steps: self.options.max_steps,
        };
        check(found, &request)?;
        Launch::new(found, memory, Chooser::new(self.options.schedule), request).run()
    }
}

/// Puts the module's variables into memory. Variables without a value start as zeros (PTX ISA 5.4.4).
fn place_variables(memory: &mut Memory, module: &Module) -> Vec<u64> {
    let place = |variable: &crate::syntax::Variable| {
        let bytes = variable.bytes.unwrap_or(0) as usize;
        let mut data = match &variable.initialiser {
            Initialiser::None => Vec::new(),
            Initialiser::Bytes(data) => data.clone(),
        };
        data.resize(bytes, 0);
        match variable.space {
            Space::Const => memory.allocate_constant(&data, &variable.name),
            Space::Global => {
                let address = memory.allocate(bytes, &variable.name);
                memory.write(address, &data).expect("the variable was allocated");
                address
            }
            _ => 0,
        }
    };
    module.variables.iter().map(place).collect()
}
