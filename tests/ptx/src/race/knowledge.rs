//! Vector clocks: what somebody knows to have happened.

/// Lanes of a warp. Warps are numbered over the whole launch: block x warps per block + warp; threads: that x 32 +
/// lane.
pub(super) const LANES: u32 = 32;

/// A sparse vector clock. Both lists are sorted by their first member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Knowledge {
    /// (warp, epoch): everything that any lane of the warp did up to that epoch.
    warps: Vec<(u32, u32)>,
    /// (thread, epoch): the same for one lane.
    lanes: Vec<(u32, u32)>,
}

impl Knowledge {
    pub fn is_empty(&self) -> bool {
        self.warps.is_empty() && self.lanes.is_empty()
    }

    pub fn clear(&mut self) {
        self.warps.clear();
        self.lanes.clear();
    }

    /// The epoch up to which all lanes of `warp` are known.
    pub fn warp(&self, warp: u32) -> u32 {
        find(&self.warps, warp)
    }

    /// The epoch up to which this one thread is known, beyond what is known of its whole warp.
    pub fn lane(&self, thread: u32) -> u32 {
        find(&self.lanes, thread)
    }

    pub fn learn_warp(&mut self, warp: u32, epoch: u32) {
        raise(&mut self.warps, warp, epoch);
    }

    pub fn learn_lane(&mut self, thread: u32, epoch: u32) {
        raise(&mut self.lanes, thread, epoch);
    }

    pub fn join(&mut self, other: &Knowledge) {
        merge(&mut self.warps, &other.warps);
        merge(&mut self.lanes, &other.lanes);
    }

    pub fn warps(&self) -> impl Iterator<Item = (u32, u32)> {
        self.warps.iter().copied()
    }

    /// Drops what the dense clock `near` of the warps from number `first` on says as well.
    pub fn drop_covered(&mut self, near: &[u32], first: u32) {
        let near_epoch = |warp: u32| near.get(warp.wrapping_sub(first) as usize).copied();
        self.warps.retain(|&(warp, epoch)| near_epoch(warp).is_none_or(|known| known < epoch));
        self.lanes.retain(|&(thread, epoch)| near_epoch(thread / LANES).is_none_or(|known| known < epoch));
    }
}

fn find(entries: &[(u32, u32)], key: u32) -> u32 {
    match entries.binary_search_by_key(&key, |entry| entry.0) {
        Ok(place) => entries[place].1,
        Err(_) => 0,
    }
}

fn raise(entries: &mut Vec<(u32, u32)>, key: u32, epoch: u32) {
    if epoch == 0 {
        return;
    }
    match entries.binary_search_by_key(&key, |entry| entry.0) {
        Ok(place) => entries[place].1 = entries[place].1.max(epoch),
        Err(place) => entries.insert(place, (key, epoch)),
    }
}

fn merge(entries: &mut Vec<(u32, u32)>, others: &[(u32, u32)]) {
    if others.is_empty() {
        return;
    }
    if entries.is_empty() {
        entries.extend_from_slice(others);
        return;
    }
    let mut merged = Vec::with_capacity(entries.len() + others.len());
    let (mut left, mut right) = (entries.iter().peekable(), others.iter().peekable());
    while let (Some(&&a), Some(&&b)) = (left.peek(), right.peek()) {
        merged.push(match a.0.cmp(&b.0) {
            std::cmp::Ordering::Less => *left.next().expect("peeked"),
            std::cmp::Ordering::Greater => *right.next().expect("peeked"),
            std::cmp::Ordering::Equal => {
                left.next();
                right.next();
                (a.0, a.1.max(b.1))
            }
        });
    }
    merged.extend(left);
    merged.extend(right);
    *entries = merged;
}
