//! Typed device memory.

use std::fmt;
use std::marker::PhantomData;

use bytemuck::{AnyBitPattern, NoUninit, Pod, Zeroable};

use crate::device::Device;
use crate::error::{Error, Result};

/// A device address as kernels take it in a parameter struct; null stands for "not given".
#[repr(transparent)]
pub struct Pointer<T> {
    address: u64,
    kind: PhantomData<*mut T>,
}

// SAFETY: the only field that takes room is a u64, for which all of this holds; the address is not followed on
// the host.
unsafe impl<T: 'static> Pod for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Zeroable for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Pointer<T> {}

impl<T> Clone for Pointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pointer<T> {}

impl<T> fmt::Debug for Pointer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address)
    }
}

impl<T> Pointer<T> {
    pub const NULL: Self = Pointer { address: 0, kind: PhantomData };

    /// `self + count` elements.
    #[must_use]
    pub fn offset(self, count: usize) -> Self {
        Pointer { address: self.address + (count * size_of::<T>()) as u64, kind: PhantomData }
    }

    pub fn address(self) -> u64 {
        self.address
    }

    pub fn from_address(address: u64) -> Self {
        Pointer { address, kind: PhantomData }
    }

    /// The same address as a pointer to another type.
    pub fn cast<U>(self) -> Pointer<U> {
        Pointer { address: self.address, kind: PhantomData }
    }
}

/// `len` values in device memory, given back when dropped.
pub struct Buffer<T> {
    device: Device,
    address: u64,
    len: usize,
    kind: PhantomData<T>,
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("address", &self.address).field("len", &self.len).finish()
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.address != 0 {
            self.device.backend().free(self.address);
        }
    }
}

impl<T: NoUninit + AnyBitPattern> Buffer<T> {
    /// Room for `len` values whose contents are undefined; `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn uninitialised(device: &Device, len: usize, what: &str) -> Result<Self> {
        let bytes = len * size_of::<T>();
        let address = if bytes == 0 { 0 } else { device.backend().allocate(bytes, what)? };
        Ok(Buffer { device: device.clone(), address, len, kind: PhantomData })
    }

    /// `len` values, every byte 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn zeros(device: &Device, len: usize, what: &str) -> Result<Self> {
        let mut buffer = Self::uninitialised(device, len, what)?;
        buffer.clear()?;
        Ok(buffer)
    }

    /// A copy of `values` on the device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn from_slice(device: &Device, values: &[T], what: &str) -> Result<Self> {
        let mut buffer = Self::uninitialised(device, values.len(), what)?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    /// Sets every byte to 0.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn clear(&mut self) -> Result<()> {
        match self.bytes() {
            0 => Ok(()),
            bytes => self.device.backend().fill(self.address, 0, bytes),
        }
    }

    /// Replaces the values from position `start` on.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end, [`Error::Device`].
    pub fn write(&mut self, start: usize, values: &[T]) -> Result<()> {
        self.check_range("write", start, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        self.device.backend().upload(self.address + (start * size_of::<T>()) as u64, bytemuck::cast_slice(values))
    }

    /// Replaces the values from position `start` on by `other`'s, device to device.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end, [`Error::Device`].
    pub fn copy_from(&mut self, start: usize, other: &Buffer<T>) -> Result<()> {
        self.check_range("copy", start, other.len)?;
        match other.bytes() {
            0 => Ok(()),
            bytes => {
                let to = self.address + (start * size_of::<T>()) as u64;
                self.device.backend().copy(to, other.address, bytes)
            }
        }
    }

    /// The values, on the host.
    ///
    /// # Errors
    /// [`Error::Device`], also for what a launch before it did wrong.
    pub fn to_vec(&self) -> Result<Vec<T>>
    where
        T: Pod,
    {
        self.range_to_vec(0, self.len)
    }

    /// `count` values from position `start` on, on the host.
    ///
    /// # Errors
    /// [`Error::Argument`] past the end, [`Error::Device`].
    pub fn range_to_vec(&self, start: usize, count: usize) -> Result<Vec<T>>
    where
        T: Pod,
    {
        self.check_range("read", start, count)?;
        let mut values = vec![T::zeroed(); count];
        if count > 0 {
            let from = self.address + (start * size_of::<T>()) as u64;
            self.device.backend().download(from, bytemuck::cast_slice_mut(&mut values))?;
        }
        Ok(values)
    }

    fn check_range(&self, operation: &'static str, start: usize, count: usize) -> Result<()> {
        match start.checked_add(count) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(Error::argument(operation, format!("{count} values at {start} of a buffer of {}", self.len))),
        }
    }
}

impl<T> Buffer<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The address for a parameter struct. A kernel that writes through it must be launched by someone who holds
    /// this buffer mutably.
    pub fn pointer(&self) -> Pointer<T> {
        Pointer { address: self.address, kind: PhantomData }
    }
}
