//! Which engine computes: the one place where a device becomes an [`Engine`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Engine, Place, cpu_engine};
#[cfg(not(feature = "cuda"))]
use crate::error::Error;
use crate::error::Result;

/// A device as users name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The first GPU if this build and the machine have what it takes, else the CPU.
    Auto,
    Cpu,
    /// The GPU of this index.
    Cuda(usize),
}

impl Device {
    /// The memory that its engine would take, without looking for a GPU: [`Device::Auto`] stands for the CPU.
    ///
    /// # Errors
    /// [`Error::NoGpu`](crate::Error::NoGpu) if this build has no such engine.
    pub fn place(self) -> Result<Place> {
        match self {
            Device::Auto | Device::Cpu => Ok(Place::Host),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Ok(Place::Gpu),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(no_cuda(self)),
        }
    }

    /// The engine of the device. [`Device::Auto`] says in the log which one it chose.
    ///
    /// # Errors
    /// [`Error::NoGpu`](crate::Error::NoGpu) if this build or this machine has no such device.
    pub fn engine(self) -> Result<Arc<dyn Engine>> {
        match self {
            Device::Cpu => Ok(cpu_engine()),
            Device::Cuda(index) => cuda_engine(index),
            Device::Auto => {
                let engine = cuda_engine(0).unwrap_or_else(|refusal| {
                    tracing::debug!("{refusal}");
                    cpu_engine()
                });
                tracing::info!("device auto: {}", engine.name());
                Ok(engine)
            }
        }
    }
}

/// The engine of GPU `index`.
#[cfg(feature = "cuda")]
use super::cuda::cuda_engine;

/// The engine of GPU `index`, which a build for the CPU does not have.
#[cfg(not(feature = "cuda"))]
fn cuda_engine(index: usize) -> Result<Arc<dyn Engine>> {
    Err(no_cuda(Device::Cuda(index)))
}

#[cfg(not(feature = "cuda"))]
fn no_cuda(device: Device) -> Error {
    let hint = crate::doctor::HOW_TO_GET_CUDA;
    Error::NoGpu(format!("--device {device}: this build computes on the CPU only; {hint}"))
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = text.strip_prefix("cuda:").map(str::parse);
        match (text, index) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Device::Cuda(index)),
            _ => Err(format!("expected auto, cpu, cuda or cuda:N, found `{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(11)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:0x1", "cpu:0"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn auto_finds_an_engine_on_every_machine() {
        assert!(Device::Auto.engine().is_ok());
        assert_eq!(Device::Cpu.engine().map(|engine| engine.name().to_string()).ok().as_deref(), Some("cpu"));
    }
}
