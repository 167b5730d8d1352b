//! Block barriers (PTX ISA 9.7.13.1).
//!
//! A warp arrives as a whole: `bar` is the aligned form, so a warp of which a lane is elsewhere or has exited alone is
//! refused. Warps that have exited as a whole are not waited for by a barrier without a thread count.

use crate::execute::{Outcome, lanes, stop};
use crate::fault::FaultKind;
use crate::instruction::{BarrierKind, Instruction, Slot};
use crate::kernel::Kernel;
use crate::race::Clocks;
use crate::warp::{Register, State, Warp};

/// Barriers of a block (PTX ISA 9.7.13.1).
pub(crate) const BARRIERS: usize = 16;

#[derive(Debug)]
struct Waiter {
    warp: u32,
    pc: u32,
    destination: Option<Slot>,
}

/// What the first arrival fixes for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    /// Threads, if the instruction has a count.
    count: Option<u32>,
    /// The reduction, if it is one.
    reduction: Option<BarrierKind>,
}

#[derive(Debug, Default)]
pub(crate) struct Barrier {
    terms: Option<Terms>,
    arrived: u32,
    waiting: Vec<Waiter>,
    yes: u32,
    no: u32,
}

/// One warp's arrival, read from its instruction.
struct Arrival {
    id: usize,
    terms: Terms,
    yes: u32,
    no: u32,
}

fn uniform(register: &Register, mask: u32, what: &str) -> Outcome<u32> {
    let first = register[mask.trailing_zeros() as usize] as u32;
    match lanes(mask).find(|&lane| register[lane] as u32 != first) {
        None => Ok(first),
        Some(lane) => {
            let detail = format!("{what} {} differs from {first} of another lane", register[lane]);
            stop(FaultKind::DivergentBarrier, Some(lane as u32), detail)
        }
    }
}

fn read(warp: &Warp, kind: BarrierKind, counted: bool, sources: &[Slot], mask: u32) -> Outcome<Arrival> {
    if mask != warp.lanes {
        let lane = (warp.lanes & !mask).trailing_zeros();
        let why = if warp.exited >> lane & 1 != 0 { "has exited" } else { "is elsewhere" };
        return stop(FaultKind::DivergentBarrier, Some(lane), format!("lane {lane} {why}"));
    }
    let id = uniform(&warp.values[sources[0].index()], mask, "barrier number")?;
    if id as usize >= BARRIERS {
        return stop(FaultKind::Unsupported, None, format!("barrier {id} of {BARRIERS}"));
    }
    let count = match counted {
        false => None,
        true => Some(uniform(&warp.values[sources[1].index()], mask, "thread count")?),
    };
    if let Some(count) = count.filter(|count| count % 32 != 0 || *count == 0) {
        let detail = format!("thread count {count} is no multiple of 32");
        return stop(FaultKind::DivergentBarrier, None, detail);
    }
    let reduces = !matches!(kind, BarrierKind::Sync | BarrierKind::Arrive);
    let truth = if reduces { warp.predicate(sources[sources.len() - 1]) & mask } else { 0 };
    let terms = Terms { count, reduction: reduces.then_some(kind) };
    Ok(Arrival { id: id as usize, terms, yes: truth.count_ones(), no: (mask & !truth).count_ones() })
}

/// The warp `index` runs a barrier instruction.
pub(crate) fn arrive(
    barriers: &mut [Barrier; BARRIERS],
    warps: &mut [Warp],
    clocks: &mut Clocks,
    kernel: &Kernel,
    instruction: &Instruction,
    index: usize,
    (kind, counted, mask): (BarrierKind, bool, u32),
) -> Outcome {
    let warp = &mut warps[index];
    if mask == 0 {
        warp.advance();
        return Ok(());
    }
    let arrival = read(warp, kind, counted, kernel.sources(instruction), mask)?;
    let barrier = &mut barriers[arrival.id];
    let terms = *barrier.terms.get_or_insert(arrival.terms);
    if terms != arrival.terms {
        let detail = format!("barrier {}: {} meets {}", arrival.id, say(arrival.terms), say(terms));
        return stop(FaultKind::DivergentBarrier, None, detail);
    }
    clocks.barrier_arrive(warp.id, arrival.id as u32);
    barrier.arrived += 1;
    barrier.yes += arrival.yes;
    barrier.no += arrival.no;
    let pc = warp.path().pc;
    warp.advance();
    if kind != BarrierKind::Arrive {
        warp.state = State::AtBarrier(arrival.id as u32);
        let destination = kernel.destinations(instruction).first().copied();
        barrier.waiting.push(Waiter { warp: index as u32, pc, destination });
    }
    settle(barriers, warps, clocks, arrival.id)
}

fn say(terms: Terms) -> String {
    let count = terms.count.map_or("all threads".to_owned(), |count| format!("{count} threads"));
    let kind = match terms.reduction {
        None => "sync",
        Some(BarrierKind::CountTrue) => "red.popc",
        Some(BarrierKind::AllTrue) => "red.and",
        Some(_) => "red.or",
    };
    format!("{kind} of {count}")
}

/// A warp has exited: barriers without a count wait for one less.
pub(crate) fn departed(barriers: &mut [Barrier; BARRIERS], warps: &mut [Warp], clocks: &mut Clocks) -> Outcome {
    (0..BARRIERS).try_for_each(|id| settle(barriers, warps, clocks, id))
}

/// Completes barrier `id` if all have arrived.
fn settle(barriers: &mut [Barrier; BARRIERS], warps: &mut [Warp], clocks: &mut Clocks, id: usize) -> Outcome {
    let barrier = &mut barriers[id];
    let Some(terms) = barrier.terms else { return Ok(()) };
    let live = warps.iter().filter(|warp| warp.state != State::Done).count() as u32;
    let expected = terms.count.map_or(live, |count| count / 32);
    if barrier.arrived < expected {
        return Ok(());
    }
    if barrier.arrived > expected {
        let detail = format!("barrier {id}: {} warps arrive, {expected} are expected", barrier.arrived);
        return stop(FaultKind::DivergentBarrier, None, detail);
    }
    let barrier = std::mem::take(barrier);
    let indices: Vec<u32> = barrier.waiting.iter().map(|waiter| waiter.warp).collect();
    clocks.barrier_complete(warps[0].id.block, id as u32, &indices);
    let truth = match terms.reduction {
        Some(BarrierKind::AllTrue) => barrier.no == 0,
        _ => barrier.yes != 0,
    };
    for waiter in barrier.waiting {
        let warp = &mut warps[waiter.warp as usize];
        warp.state = State::Running;
        let mask = warp.lanes;
        match waiter.destination {
            None => {}
            Some(d) if d.is_predicate() => warp.set_predicate(d, mask, if truth { u32::MAX } else { 0 }),
            Some(d) => warp.set(d, mask, &[u64::from(barrier.yes); 32]),
        }
    }
    Ok(())
}

/// Who waits where: the words of a deadlock, and a waiting warp with its instruction.
pub(crate) fn waiting(barriers: &[Barrier; BARRIERS], kernel: &Kernel) -> (Vec<String>, Option<(u32, u32)>) {
    let mut words = Vec::new();
    let mut first = None;
    for (id, barrier) in barriers.iter().enumerate() {
        for waiter in &barrier.waiting {
            first = first.or(Some((waiter.warp, waiter.pc)));
            let line = kernel.notes[waiter.pc as usize].line;
            words.push(format!("warp {} at barrier {id} (PTX line {line})", waiter.warp));
        }
        if barrier.waiting.is_empty() && barrier.arrived > 0 {
            words.push(format!("barrier {id} has {} arrivals and nobody waiting", barrier.arrived));
        }
    }
    (words, first)
}
