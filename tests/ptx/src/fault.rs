//! The one error of a running kernel: what went wrong, and where.

use std::fmt;

use thiserror::Error;

/// What a kernel, or the host that drives it, did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An access touches a byte outside every allocation, or crosses the end of one.
    OutOfBounds,
    /// The address is no multiple of the access size.
    Misaligned,
    /// Shared memory is read before it is written.
    UninitialisedShared,
    /// Global memory is read before it is written.
    UninitialisedGlobal,
    /// Local memory (or a parameter of a call) is read before it is written.
    UninitialisedLocal,
    /// A register is read before it is written.
    UninitialisedRegister,
    /// Two accesses of the same bytes, at least one a write, with nothing ordering them.
    Race,
    /// `bar.sync` is reached by a part of a warp, or two barriers of one number disagree.
    DivergentBarrier,
    /// No warp can run: some wait at a barrier that the others never reach.
    BarrierDeadlock,
    /// A warp collective misses a lane that its mask names, or is run by a lane that it does not name.
    PartialMask,
    /// A warp collective that all 32 lanes must run together is run by fewer, or a uniform branch diverges.
    DivergentCollective,
    /// The address belongs to another state space, or the space is read-only.
    BadPointerSpace,
    /// Bytes of an unfinished `cp.async` are accessed.
    CpAsyncInFlight,
    /// Memory read through the non-coherent path (`ld.global.nc`) is written by the same launch.
    NonCoherent,
    /// The launch took more steps than allowed.
    StepLimit,
    /// The operation exists but this operand value, or this use of the interface, is not implemented.
    Unsupported,
    /// The kernel stopped itself: `trap` or a failed `assert`.
    Trap,
    /// The launch's parameters, grid, block or shared memory do not fit the kernel.
    BadLaunch,
    /// An allocation is freed twice or was never made.
    BadFree,
}

impl FaultKind {
    fn phrase(self) -> &'static str {
        match self {
            FaultKind::OutOfBounds => "access out of bounds",
            FaultKind::Misaligned => "misaligned access",
            FaultKind::UninitialisedShared => "read of uninitialised shared memory",
            FaultKind::UninitialisedGlobal => "read of uninitialised global memory",
            FaultKind::UninitialisedLocal => "read of uninitialised local memory",
            FaultKind::UninitialisedRegister => "read of an unwritten register",
            FaultKind::Race => "data race",
            FaultKind::DivergentBarrier => "divergent barrier",
            FaultKind::BarrierDeadlock => "barrier deadlock",
            FaultKind::PartialMask => "warp collective with a lane missing",
            FaultKind::DivergentCollective => "warp collective in a diverged warp",
            FaultKind::BadPointerSpace => "address of the wrong state space",
            FaultKind::CpAsyncInFlight => "access to bytes of an unfinished cp.async",
            FaultKind::NonCoherent => "non-coherent read of written memory",
            FaultKind::StepLimit => "step limit reached",
            FaultKind::Unsupported => "unsupported operation",
            FaultKind::Trap => "trap",
            FaultKind::BadLaunch => "bad launch",
            FaultKind::BadFree => "bad free",
        }
    }
}

/// A fault with everything known about its place. Host-side faults (a bad `read`, a bad launch) have no `place`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Fault {
    pub kind: FaultKind,
    /// The fact behind the kind: addresses, sizes, names, lanes.
    pub detail: String,
    pub place: Option<Box<Place>>,
}

/// Where in a launch a fault happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub kernel: String,
    pub block: [u32; 3],
    pub warp: u32,
    /// The first lane concerned, if the fault belongs to a lane and not to its warp.
    pub lane: Option<u32>,
    /// The PTX instruction as written.
    pub instruction: String,
    /// Line of the instruction in the PTX text.
    pub line: u32,
    /// `file.cu:line` of the CUDA source from `.loc`, inlined frames after it, innermost first.
    pub source: Option<String>,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault { kind, detail: detail.into(), place: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.phrase())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if let Some(place) = &self.place {
            let [x, y, z] = place.block;
            write!(f, ", in kernel {} block ({x}, {y}, {z}) warp {}", place.kernel, place.warp)?;
            if let Some(lane) = place.lane {
                write!(f, " lane {lane}")?;
            }
            if let Some(source) = &place.source {
                write!(f, " at {source}")?;
            }
            write!(f, ", PTX line {}: `{}`", place.line, place.instruction)?;
        }
        Ok(())
    }
}
