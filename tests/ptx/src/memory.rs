//! Global and constant memory: allocations with guard gaps, and what is known about their bytes.

use crate::fault::{Fault, FaultKind};
use crate::memory_map::{CONSTANT_BASE, GLOBAL_BASE};
use crate::race::Region;
use crate::shadow::Shadow;

/// Allocations start at multiples of this, as those of cudaMalloc do.
const ALIGNMENT: u64 = 256;
/// Bytes after an allocation that belong to none. Large enough that an index which is off by a row misses the
/// neighbour.
const GAP: u64 = 1 << 20;

/// Bytes with their shadow and the accesses to them.
#[derive(Debug)]
pub(crate) struct Bank {
    pub data: Vec<u8>,
    pub shadow: Shadow,
    pub region: Region,
}

impl Bank {
    pub fn new(bytes: u32) -> Bank {
        let shadow = Shadow::uninitialised(bytes as usize);
        Bank { data: vec![0; bytes as usize], shadow, region: Region::new(bytes) }
    }
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub base: u64,
    pub name: String,
    pub read_only: bool,
    pub bank: Bank,
    /// Bytes that the running launch has read the non-coherent way, and those it has written, once it matters.
    pub noncoherent: Option<Shadow>,
    pub written: Option<Shadow>,
}

/// All allocations of a machine.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Ascending by base.
    allocations: Vec<Allocation>,
    global_end: u64,
    constant_end: u64,
    /// Freed ranges, for what errors say about stale pointers: base, bytes, name.
    freed: Vec<(u64, u64, String)>,
}

impl Memory {
    /// A new allocation of global memory; addresses are never used twice.
    pub fn allocate(&mut self, bytes: usize, name: &str) -> u64 {
        let base = self.global_end.max(GLOBAL_BASE);
        self.global_end = (base + bytes as u64 + GAP).next_multiple_of(ALIGNMENT);
        self.insert(base, bytes, name, false);
        base
    }

    /// A constant variable.
    pub fn allocate_constant(&mut self, data: &[u8], name: &str) -> u64 {
        let base = self.constant_end.max(CONSTANT_BASE + ALIGNMENT);
        self.constant_end = (base + data.len() as u64 + GAP).next_multiple_of(ALIGNMENT);
        let index = self.insert(base, data.len(), name, true);
        let bank = &mut self.allocations[index].bank;
        bank.data.copy_from_slice(data);
        bank.shadow.write(0, data.len());
        base
    }

    fn insert(&mut self, base: u64, bytes: usize, name: &str, read_only: bool) -> usize {
        let bytes = u32::try_from(bytes).expect("an allocation is below 4 GiB");
        let index = self.allocations.partition_point(|allocation| allocation.base < base);
        let allocation = Allocation {
            base,
            name: name.to_owned(),
            read_only,
            bank: Bank::new(bytes),
            noncoherent: None,
            written: None,
        };
        self.allocations.insert(index, allocation);
        index
    }

    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        let index = self.allocations.binary_search_by_key(&address, |allocation| allocation.base);
        let index = index.map_err(|_| {
            Fault::new(FaultKind::BadFree, format!("no allocation starts at {}", self.describe(address)))
        })?;
        let gone = self.allocations.remove(index);
        self.freed.push((gone.base, gone.bank.data.len() as u64, gone.name));
        Ok(())
    }

    /// Index of the allocation that holds `address..address + bytes`.
    pub fn find(&self, address: u64, bytes: u64) -> Option<usize> {
        let index = self.allocations.partition_point(|allocation| allocation.base <= address).checked_sub(1)?;
        self.allocations[index].holds(address, bytes).then_some(index)
    }

    pub fn get(&self, index: usize) -> &Allocation {
        &self.allocations[index]
    }

    pub fn get_mut(&mut self, index: usize) -> &mut Allocation {
        &mut self.allocations[index]
    }

    /// Forgets what the launch before did: launches are ordered.
    pub fn begin_launch(&mut self, reads_noncoherent: bool) {
        for allocation in &mut self.allocations {
            allocation.bank.region.clear();
            let watch = || Shadow::uninitialised(allocation.bank.data.len());
            allocation.noncoherent = (reads_noncoherent && !allocation.read_only).then(watch);
            allocation.written = (reads_noncoherent && !allocation.read_only).then(watch);
        }
    }

    /// `address` and the allocation that it belongs to, or nearly does.
    pub fn describe(&self, address: u64) -> String {
        if address == 0 {
            return "the null pointer".to_owned();
        }
        let index = self.allocations.partition_point(|allocation| allocation.base <= address);
        if let Some(allocation) = index.checked_sub(1).map(|index| &self.allocations[index]) {
            let offset = address - allocation.base;
            let bytes = allocation.bank.data.len() as u64;
            if offset < bytes {
                return format!("byte {offset} of `{}` ({bytes} bytes)", allocation.name);
            }
            if offset - bytes < GAP {
                return format!(
                    "{address:#x}, {} past the end of `{}` ({bytes} bytes)",
                    offset - bytes,
                    allocation.name
                );
            }
        }
        if let Some(allocation) = self.allocations.get(index).filter(|next| next.base - address < GAP) {
            return format!("{address:#x}, {} before `{}`", allocation.base - address, allocation.name);
        }
        let stale = self.freed.iter().find(|freed| (freed.0..freed.0 + freed.1).contains(&address));
        match stale {
            Some((_, _, name)) => format!("{address:#x} in the freed `{name}`"),
            None => format!("{address:#x} in no allocation"),
        }
    }

    fn host(&self, address: u64, bytes: usize, what: &str) -> Result<(usize, usize), Fault> {
        let index = self.find(address, bytes as u64).ok_or_else(|| {
            let detail = format!("host {what} of {bytes} bytes at {}", self.describe(address));
            Fault::new(FaultKind::OutOfBounds, detail)
        })?;
        Ok((index, (address - self.allocations[index].base) as usize))
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let (index, offset) = self.host(address, bytes.len(), "write")?;
        let bank = &mut self.allocations[index].bank;
        bank.data[offset..offset + bytes.len()].copy_from_slice(bytes);
        bank.shadow.write(offset, bytes.len());
        Ok(())
    }

    pub fn fill(&mut self, address: u64, byte: u8, bytes: usize) -> Result<(), Fault> {
        let (index, offset) = self.host(address, bytes, "fill")?;
        let bank = &mut self.allocations[index].bank;
        bank.data[offset..offset + bytes].fill(byte);
        bank.shadow.write(offset, bytes);
        Ok(())
    }

    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let (index, offset) = self.host(address, bytes.len(), "read")?;
        let bank = &self.allocations[index].bank;
        if let Some(byte) = bank.shadow.first_unwritten(offset, bytes.len()) {
            let place = self.describe(self.allocations[index].base + byte as u64);
            return Err(Fault::new(FaultKind::UninitialisedGlobal, format!("host read of {place}, never written")));
        }
        bytes.copy_from_slice(&bank.data[offset..offset + bytes.len()]);
        Ok(())
    }

    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        let (source, start) = self.host(from, bytes, "copy from")?;
        let (target, offset) = self.host(to, bytes, "copy to")?;
        let origin = &self.allocations[source].bank;
        let data = origin.data[start..start + bytes].to_vec();
        let whole = origin.shadow.first_unwritten(start, bytes).is_none();
        let written: Vec<bool> = match whole {
            true => Vec::new(),
            false => (start..start + bytes).map(|at| origin.shadow.first_unwritten(at, 1).is_none()).collect(),
        };
        let bank = &mut self.allocations[target].bank;
        bank.data[offset..offset + bytes].copy_from_slice(&data);
        if whole {
            bank.shadow.write(offset, bytes);
            return Ok(());
        }
        let before = bank.shadow.clone();
        bank.shadow.clear();
        for at in 0..before.len() {
            let inside = (offset..offset + bytes).contains(&at);
            if if inside { written[at - offset] } else { before.first_unwritten(at, 1).is_none() } {
                bank.shadow.write(at, 1);
            }
        }
        Ok(())
    }
}

impl Allocation {
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        let length = self.bank.data.len() as u64;
        bytes <= length && address.wrapping_sub(self.base) <= length - bytes
    }
}
