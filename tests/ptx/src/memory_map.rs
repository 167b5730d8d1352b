//! Where the state spaces lie. The numbers are arbitrary, but no space contains address 0, so a null pointer is caught,
//! and the windows of the generic address space do not overlap.

/// First byte of shared memory in its own space.
pub(crate) const SHARED_BASE: u32 = 1024;
/// First byte of a lane's local memory in its own space.
pub(crate) const LOCAL_BASE: u32 = 256;
/// First byte of a kernel's parameters in `.param`.
pub(crate) const PARAMETER_BASE: u32 = 0x200;
/// Added to a local address to name a parameter of an inlined call in `.param`.
pub(crate) const CALL_PARAMETER_BASE: u64 = 1 << 32;
/// Bytes between two variables of shared or local memory that belong to none.
pub(crate) const GUARD_BYTES: u32 = 128;

/// Window of shared memory in the generic space.
pub(crate) const SHARED_WINDOW: u64 = 0x7f00_0000_0000;
/// Window of local memory in the generic space.
pub(crate) const LOCAL_WINDOW: u64 = 0x7e00_0000_0000;
/// Window of the kernel's parameters in the generic space.
pub(crate) const PARAMETER_WINDOW: u64 = 0x7d00_0000_0000;
/// Size of each window above.
pub(crate) const WINDOW_BYTES: u64 = 1 << 33;
/// Constant variables lie in the machine's memory from here; their own and their generic addresses agree.
pub(crate) const CONSTANT_BASE: u64 = 0x7c00_0000_0000;
/// First byte of global memory.
pub(crate) const GLOBAL_BASE: u64 = 0x7_0000_0000;
