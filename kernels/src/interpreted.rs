//! A device that interprets the kernels' PTX on the CPU and checks every access: for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use obsdiff_ptx::Schedule;
use obsdiff_ptx::{Fault, Machine, Module, Options};

use crate::device::{Backend, Device, Launch, Properties};
use crate::error::{Error, Result};
use crate::image;

/// Shared memory per block of the interpreted device: that of compute capability 8.0, 163 KiB.
const SHARED_BYTES: u32 = 163 * 1024;

/// The PTX interpreter as a device.
pub struct Interpreted {
    target: &'static str,
    properties: Properties,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    modules: HashMap<&'static str, Module>,
    /// PTX to run in place of an image's own.
    replaced: HashMap<&'static str, String>,
}

impl Interpreted {
    /// Runs the PTX compiled for `target` ("80" or "120a") with warps taking turns by `schedule`; `blocks` blocks
    /// are under way at a time.
    pub fn new(target: &'static str, schedule: Schedule, blocks: usize) -> Arc<Self> {
        let major_minor = target.trim_end_matches('a').parse::<u32>().unwrap_or(80);
        let properties = Properties {
            name: format!("interpreted sm_{target}"),
            compute_capability: (major_minor / 10, major_minor % 10),
            multiprocessors: blocks as u32,
            shared_bytes_per_block: SHARED_BYTES,
            memory_bytes: 1 << 32,
            cache_bytes: 1 << 20,
        };
        let options = Options { schedule, resident_blocks: blocks, max_steps: u64::MAX };
        let state = State { machine: Machine::new(options), modules: HashMap::new(), replaced: HashMap::new() };
        Arc::new(Interpreted { target, properties, state: Mutex::new(state) })
    }

    /// PTX of compute capability 8.0, warps in turn, four blocks at a time.
    pub fn device() -> Device {
        Device::new(Self::new("80", Schedule::RoundRobin, 4))
    }

    /// Runs `ptx` in place of what was compiled for image `name`.
    pub fn replace(&self, name: &'static str, ptx: String) {
        let mut state = self.state();
        state.modules.remove(name);
        state.replaced.insert(name, ptx);
    }

    /// Lets warps take turns by `schedule` from the next launch on.
    pub fn set_schedule(&self, schedule: Schedule) {
        self.state().machine.set_schedule(schedule);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Interpreted {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(self.properties.memory_bytes)
    }

    fn allocate(&self, bytes: usize, what: &str) -> Result<u64> {
        Ok(self.state().machine.allocate(bytes, what))
    }

    fn free(&self, address: u64) {
        // A fault here would be a double free, which Buffer's ownership rules out.
        let _ = self.state().machine.free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.state().machine.write(to, bytes).map_err(|fault| failed("upload", &fault))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.state().machine.read(from, bytes).map_err(|fault| failed("download", &fault))
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.state().machine.copy(to, from, bytes).map_err(|fault| failed("copy", &fault))
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.state().machine.fill(to, byte, bytes).map_err(|fault| failed("fill", &fault))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let mut state = self.state();
        let State { machine, modules, replaced } = &mut *state;
        let name = launch.image.name;
        if !modules.contains_key(name) {
            let own = || image::ptx(name, self.target);
            let text = replaced.get(name).map(String::as_str).or_else(own).ok_or_else(|| Error::Device {
                call: format!("loading {name}"),
                problem: format!("there is no PTX for sm_{}", self.target),
            })?;
            let module = Module::parse(name, text)
                .map_err(|error| Error::Device { call: format!("loading {name}"), problem: error.to_string() })?;
            modules.insert(name, module);
        }
        let Launch { kernel, grid, block, shared_bytes, parameters, .. } = *launch;
        machine
            .launch(&modules[name], kernel, grid, block, shared_bytes, parameters)
            .map(|_| ())
            .map_err(|fault| failed(kernel, &fault))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

fn failed(call: &str, fault: &Fault) -> Error {
    Error::Device { call: call.to_string(), problem: fault.to_string() }
}
