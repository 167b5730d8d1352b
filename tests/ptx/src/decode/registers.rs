//! Virtual registers to places in the register files.
//!
//! Two registers whose lives do not overlap share a place: nvcc's PTX uses every register once, and a warp's file would
//! outgrow the cache. Registers that some path reads before writing keep a place for themselves, so that a launch can
//! watch which lanes have written them; for all others the flow graph proves that no such read exists.

use super::builder::{Builder, Draft};
use super::flow::Graph;
use crate::instruction::Slot;

/// The files that the kernel needs.
pub(super) struct Files {
    pub values: u32,
    pub predicates: u32,
    /// Names of the watched registers.
    pub asked: Vec<String>,
    pub asked_values: Vec<Option<u32>>,
    pub asked_predicates: Vec<Option<u32>>,
}

impl Files {
    pub fn is_asked(&self, slot: Slot) -> bool {
        let map = if slot.is_predicate() { &self.asked_predicates } else { &self.asked_values };
        map[slot.index()].is_some()
    }
}

/// A set of virtual registers.
#[derive(Clone, PartialEq)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(size: usize, full: bool) -> Bits {
        Bits(vec![if full { u64::MAX } else { 0 }; size.div_ceil(64)])
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 != 0
    }

    fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn remove(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }

    fn unite(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    fn intersect(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= b);
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |word: u64| (0..64).filter(move |bit| word >> bit & 1 != 0);
        self.0.iter().enumerate().flat_map(move |(at, &word)| bits(word).map(move |bit| at * 64 + bit))
    }
}

/// One number per virtual register: values first, predicates after them.
#[derive(Clone, Copy)]
struct Numbers {
    values: usize,
}

impl Numbers {
    fn of(self, slot: Slot) -> usize {
        if slot.is_predicate() { self.values + slot.index() } else { slot.index() }
    }
}

fn reads(draft: &Draft) -> impl Iterator<Item = Slot> + '_ {
    draft.sources.iter().copied().chain(draft.guard)
}

/// Rewrites all operands of `builder` to places in the files.
pub(super) fn assign(builder: &mut Builder<'_>, graph: &Graph) -> Files {
    let numbers = Numbers { values: builder.values.len() };
    let size = builder.values.len() + builder.predicates.len();
    let asked = maybe_unwritten(builder, graph, numbers, size);
    let lives = lives(builder, graph, numbers, size);
    let (value_lives, predicate_lives) = lives.split_at(numbers.values);
    let (values, value_places) = pack(value_lives, |index| asked.has(index));
    let (predicates, predicate_places) = pack(predicate_lives, |index| asked.has(numbers.values + index));
    let mut files = Files {
        values,
        predicates,
        asked: Vec::new(),
        asked_values: vec![None; values as usize],
        asked_predicates: vec![None; predicates as usize],
    };
    for number in asked.iter().take_while(|&number| number < size) {
        let index = Some(files.asked.len() as u32);
        if number < numbers.values {
            files.asked.push(builder.values[number].clone());
            files.asked_values[value_places[number] as usize] = index;
        } else {
            files.asked.push(builder.predicates[number - numbers.values].clone());
            files.asked_predicates[predicate_places[number - numbers.values] as usize] = index;
        }
    }
    let place = |slot: &mut Slot| {
        let places = if slot.is_predicate() { &predicate_places } else { &value_places };
        *slot = slot.moved_to(places[slot.index()]);
    };
    for draft in &mut builder.code {
        draft.destinations.iter_mut().chain(&mut draft.sources).chain(&mut draft.guard).for_each(place);
    }
    builder.inputs.iter_mut().for_each(|(slot, _)| place(slot));
    files
}

/// Registers that some path from the start reads without a write before. A guarded write counts as none.
fn maybe_unwritten(builder: &Builder<'_>, graph: &Graph, numbers: Numbers, size: usize) -> Bits {
    let writes = |draft: &Draft, written: &mut Bits| {
        if draft.guard.is_none() {
            draft.destinations.iter().for_each(|&slot| written.insert(numbers.of(slot)));
        }
    };
    let mut start = Bits::new(size, false);
    builder.inputs.iter().for_each(|&(slot, _)| start.insert(numbers.of(slot)));
    let mut written_at_end = vec![Bits::new(size, true); graph.blocks.len()];
    let at_start = |index: usize, ends: &[Bits]| {
        let mut written = if index == 0 { start.clone() } else { Bits::new(size, true) };
        graph.blocks[index].predecessors.iter().for_each(|&before| written.intersect(&ends[before]));
        written
    };
    let mut changed = true;
    while changed {
        changed = false;
        for (index, block) in graph.blocks.iter().enumerate() {
            let mut written = at_start(index, &written_at_end);
            builder.code[block.start..block.end].iter().for_each(|draft| writes(draft, &mut written));
            if written != written_at_end[index] {
                written_at_end[index] = written;
                changed = true;
            }
        }
    }
    let mut asked = Bits::new(size, false);
    for (index, block) in graph.blocks.iter().enumerate() {
        let mut written = at_start(index, &written_at_end);
        for draft in &builder.code[block.start..block.end] {
            reads(draft).map(|slot| numbers.of(slot)).filter(|&n| !written.has(n)).for_each(|n| asked.insert(n));
            writes(draft, &mut written);
        }
    }
    asked
}

/// First and last moment at which each register holds something, if any. Instruction `n` reads at moment 2n and writes
/// at moment 2n + 1.
fn lives(builder: &Builder<'_>, graph: &Graph, numbers: Numbers, size: usize) -> Vec<Option<(usize, usize)>> {
    let live_before = |index: usize, after: &Bits| {
        let block = &graph.blocks[index];
        let mut live = after.clone();
        for draft in builder.code[block.start..block.end].iter().rev() {
            if draft.guard.is_none() {
                draft.destinations.iter().for_each(|&slot| live.remove(numbers.of(slot)));
            }
            reads(draft).for_each(|slot| live.insert(numbers.of(slot)));
        }
        live
    };
    let mut at_start = vec![Bits::new(size, false); graph.blocks.len()];
    let at_end = |index: usize, starts: &[Bits]| {
        let mut live = Bits::new(size, false);
        graph.blocks[index].successors.iter().for_each(|&next| live.unite(&starts[next]));
        live
    };
    let mut changed = true;
    while changed {
        changed = false;
        for index in (0..graph.blocks.len()).rev() {
            let live = live_before(index, &at_end(index, &at_start));
            if live != at_start[index] {
                at_start[index] = live;
                changed = true;
            }
        }
    }
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; size];
    let mut extend = |number: usize, at: usize| {
        let (first, last) = lives[number].unwrap_or((at, at));
        lives[number] = Some((first.min(at), last.max(at)));
    };
    builder.inputs.iter().for_each(|&(slot, _)| extend(numbers.of(slot), 0));
    for (index, block) in graph.blocks.iter().enumerate() {
        at_start[index].iter().for_each(|number| extend(number, 2 * block.start));
        at_end(index, &at_start).iter().for_each(|number| extend(number, 2 * block.end - 1));
        for at in block.start..block.end {
            let draft = &builder.code[at];
            reads(draft).for_each(|slot| extend(numbers.of(slot), 2 * at));
            draft.destinations.iter().for_each(|&slot| extend(numbers.of(slot), 2 * at + 1));
        }
    }
    lives
}

/// Gives each live register a place; those for which `alone` holds share theirs with nobody.
fn pack(lives: &[Option<(usize, usize)>], alone: impl Fn(usize) -> bool) -> (u32, Vec<u32>) {
    let mut order: Vec<usize> = (0..lives.len()).filter(|&index| lives[index].is_some()).collect();
    order.sort_by_key(|&index| lives[index]);
    let mut places = vec![0; lives.len()];
    let mut ends: Vec<usize> = Vec::new();
    for index in order {
        let (first, last) = lives[index].expect("filtered above");
        let free = if alone(index) { None } else { ends.iter().position(|&end| end < first) };
        let last = if alone(index) { usize::MAX } else { last };
        let place = free.unwrap_or_else(|| {
            ends.push(0);
            ends.len() - 1
        });
        ends[place] = last;
        places[index] = place as u32;
    }
    (ends.len() as u32, places)
}
