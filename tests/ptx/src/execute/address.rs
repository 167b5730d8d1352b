//! Addresses of a warp's lanes: which space, which variable, in bounds, aligned.

use super::{Outcome, Run, lanes, stop};
use crate::fault::FaultKind;
use crate::instruction::Slot;
use crate::kernel::Range;
use crate::memory_map::{
    CALL_PARAMETER_BASE, CONSTANT_BASE, LOCAL_WINDOW, PARAMETER_BASE, PARAMETER_WINDOW, SHARED_BASE, SHARED_WINDOW,
    WINDOW_BYTES,
};
use crate::syntax::Space;

/// Lanes whose addresses lie in one allocation, or in one space that has no allocations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub mask: u32,
    pub home: Home,
    /// Offset of each lane from the start of `home`.
    pub offsets: [u32; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Index of the allocation.
    Global(usize),
    Shared,
    Local,
    Parameter,
}

fn in_window(address: u64, window: u64) -> bool {
    (window..window + WINDOW_BYTES).contains(&address)
}

/// The state space that a generic address points to, and the address there.
pub(super) fn from_generic(address: u64) -> (Space, u64) {
    for (space, window) in
        [(Space::Shared, SHARED_WINDOW), (Space::Local, LOCAL_WINDOW), (Space::Param, PARAMETER_WINDOW)]
    {
        if in_window(address, window) {
            return (space, address - window);
        }
    }
    let constant = (CONSTANT_BASE..PARAMETER_WINDOW).contains(&address);
    (if constant { Space::Const } else { Space::Global }, address)
}

/// The generic address of `address` in `space`.
pub(super) fn to_generic(space: Space, address: u64) -> u64 {
    match space {
        Space::Shared => address.wrapping_add(SHARED_WINDOW),
        Space::Local => address.wrapping_add(LOCAL_WINDOW),
        Space::Param => address.wrapping_add(PARAMETER_WINDOW),
        _ => address,
    }
}

impl Run<'_> {
    /// The addresses of the lanes.
    pub(super) fn addresses(&self, base: Slot, offset: i64) -> [u64; 32] {
        let base = &self.warp.values[base.index()];
        std::array::from_fn(|lane| base[lane].wrapping_add_signed(offset))
    }

    /// Sorts the lanes of `mask` by where they access `bytes` bytes, and checks each address.
    pub(super) fn locate(
        &self,
        space: Space,
        addresses: &[u64; 32],
        bytes: u32,
        mask: u32,
        mut each: impl FnMut(Group),
    ) -> Outcome {
        for lane in lanes(mask) {
            if addresses[lane] & u64::from(bytes - 1) != 0 {
                let place = self.describe(space, addresses[lane]);
                let detail = format!("{bytes} bytes at {place}");
                return stop(FaultKind::Misaligned, Some(lane as u32), detail);
            }
        }
        if space != Space::Generic {
            return self.locate_in(space, addresses, bytes, mask, &mut each);
        }
        let mut rest = mask;
        while rest != 0 {
            let (space, _) = from_generic(addresses[rest.trailing_zeros() as usize]);
            let mut inner = [0; 32];
            let mut part = 0;
            for lane in lanes(rest) {
                let (found, address) = from_generic(addresses[lane]);
                if found == space {
                    inner[lane] = address;
                    part |= 1 << lane;
                }
            }
            rest &= !part;
            self.locate_in(space, &inner, bytes, part, &mut each)?;
        }
        Ok(())
    }

    fn locate_in(
        &self,
        space: Space,
        addresses: &[u64; 32],
        bytes: u32,
        mask: u32,
        each: &mut impl FnMut(Group),
    ) -> Outcome {
        let group = |home, start: u64, mask| {
            let offsets = std::array::from_fn(|lane| addresses[lane].wrapping_sub(start) as u32);
            Group { mask, home, offsets }
        };
        match space {
            Space::Global | Space::Const => {
                let mut rest = mask;
                while rest != 0 {
                    let first = rest.trailing_zeros();
                    let address = addresses[first as usize];
                    let Some(index) = self.memory.find(address, u64::from(bytes)) else {
                        return self.outside(space, address, bytes, first);
                    };
                    let allocation = self.memory.get(index);
                    if space == Space::Const && !allocation.read_only {
                        return self.outside(space, address, bytes, first);
                    }
                    let mut part = 0;
                    for lane in lanes(rest) {
                        part |= u32::from(allocation.holds(addresses[lane], u64::from(bytes))) << lane;
                    }
                    rest &= !part;
                    each(group(Home::Global(index), allocation.base, part));
                }
            }
            Space::Shared => {
                self.in_ranges(&self.shared.ranges, space, addresses, bytes, mask)?;
                each(group(Home::Shared, u64::from(SHARED_BASE), mask));
            }
            Space::Local => {
                self.in_ranges(&self.kernel.local, space, addresses, bytes, mask)?;
                each(group(Home::Local, u64::from(crate::memory_map::LOCAL_BASE), mask));
            }
            Space::Param => {
                let call =
                    lanes(mask).fold(0, |call, lane| call | u32::from(addresses[lane] >= CALL_PARAMETER_BASE) << lane);
                if call != 0 {
                    let inner = addresses.map(|address| address.wrapping_sub(CALL_PARAMETER_BASE));
                    self.locate_in(Space::Local, &inner, bytes, call, each)?;
                }
                if mask & !call != 0 {
                    self.in_parameters(addresses, bytes, mask & !call)?;
                    each(group(Home::Parameter, u64::from(PARAMETER_BASE), mask & !call));
                }
            }
            Space::Generic => unreachable!("generic addresses are resolved before"),
        }
        Ok(())
    }

    /// Every lane inside one of `ranges`; most often all in the same.
    fn in_ranges(&self, ranges: &[Range], space: Space, addresses: &[u64; 32], bytes: u32, mask: u32) -> Outcome {
        let mut range = (1, 0);
        for lane in lanes(mask) {
            let (from, to) = (addresses[lane], addresses[lane].saturating_add(u64::from(bytes)));
            if from >= range.0 && to <= range.1 {
                continue;
            }
            let holds = |r: &&Range| from >= u64::from(r.start) && to <= u64::from(r.start) + u64::from(r.bytes);
            match ranges.iter().find(holds) {
                Some(found) => range = (u64::from(found.start), u64::from(found.start) + u64::from(found.bytes)),
                None => return self.outside(space, from, bytes, lane as u32),
            }
        }
        Ok(())
    }

    fn in_parameters(&self, addresses: &[u64; 32], bytes: u32, mask: u32) -> Outcome {
        for lane in lanes(mask) {
            let at = addresses[lane].wrapping_sub(u64::from(PARAMETER_BASE));
            let holds = self.kernel.parameters.iter().any(|parameter| {
                let (start, end) = (u64::from(parameter.offset), u64::from(parameter.offset + parameter.bytes));
                at >= start && at.saturating_add(u64::from(bytes)) <= end
            });
            if !holds {
                return self.outside(Space::Param, addresses[lane], bytes, lane as u32);
            }
        }
        Ok(())
    }

    fn outside<T>(&self, space: Space, address: u64, bytes: u32, lane: u32) -> Outcome<T> {
        let (elsewhere, _) = from_generic(address);
        let window = matches!(elsewhere, Space::Shared | Space::Local | Space::Param | Space::Const);
        if space == Space::Global && window {
            let detail = format!("{address:#x} is a generic address of .{}, used as .global", elsewhere.name());
            return stop(FaultKind::BadPointerSpace, Some(lane), detail);
        }
        if matches!(space, Space::Shared | Space::Local) && (address >= crate::memory_map::GLOBAL_BASE) {
            let detail = format!("{address:#x} is a generic address, used as .{}", space.name());
            return stop(FaultKind::BadPointerSpace, Some(lane), detail);
        }
        let place = self.describe(space, address);
        stop(FaultKind::OutOfBounds, Some(lane), format!("{bytes} bytes at {place}"))
    }

    /// An address in words.
    pub(super) fn describe(&self, space: Space, address: u64) -> String {
        let (space, address) = if space == Space::Generic { from_generic(address) } else { (space, address) };
        let ranges = match space {
            Space::Shared => &self.shared.ranges,
            Space::Local => &self.kernel.local,
            Space::Param => {
                return format!("byte {:#x} of the parameters", address.wrapping_sub(u64::from(PARAMETER_BASE)));
            }
            _ => return self.memory.describe(address),
        };
        let before = ranges.iter().rev().find(|range| u64::from(range.start) <= address);
        let name = space.name();
        match before {
            Some(range) => {
                let offset = address - u64::from(range.start);
                format!("byte {offset} of {name} `{}` ({} bytes)", range.name, range.bytes)
            }
            None => format!("{name} address {address:#x}, before every variable"),
        }
    }
}
