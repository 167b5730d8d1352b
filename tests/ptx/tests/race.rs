//! The race detector finds what is unordered and accepts what is ordered.

use obsdiff_ptx::race::{Access, AccessKind, Clocks, Conflict, Order, Region, Scope, WarpId};

const ALL: u32 = u32::MAX;

const READ: AccessKind = AccessKind::Read;
const WRITE: AccessKind = AccessKind::Write;
const ATOMIC: AccessKind = AccessKind::Atomic { order: Order::Relaxed, scope: Scope::Device };

/// A launch with one watched range. Places are given by the tests.
struct Scene {
    clocks: Clocks,
    region: Region,
}

type Outcome = Result<(), Box<Conflict>>;

impl Scene {
    fn new(blocks: u32, threads: u32) -> Self {
        let mut clocks = Clocks::new(threads);
        (0..blocks).for_each(|block| clocks.start_block(block));
        Self { clocks, region: Region::new(1 << 16) }
    }

    fn lane(&mut self, (block, warp, lane): (u32, u32, u32), kind: AccessKind, offset: u32, place: u32) -> Outcome {
        self.bytes((block, warp, lane), kind, offset, 4, place)
    }

    fn bytes(
        &mut self,
        (block, warp, lane): (u32, u32, u32),
        kind: AccessKind,
        offset: u32,
        bytes: u32,
        place: u32,
    ) -> Outcome {
        let access = Access { warp: WarpId { block, warp }, kind, bytes, place };
        self.region.access_lane(&mut self.clocks, access, lane, offset)
    }

    /// Lane l accesses four bytes at `first + stride * l`.
    fn warp(&mut self, (block, warp): (u32, u32), kind: AccessKind, first: u32, stride: u32, place: u32) -> Outcome {
        let access = Access { warp: WarpId { block, warp }, kind, bytes: 4, place };
        let offsets = std::array::from_fn(|lane| first + stride * lane as u32);
        self.region.access_warp(&mut self.clocks, access, ALL, &offsets)
    }

    fn sync(&mut self, block: u32, warps: &[u32]) {
        for &warp in warps {
            self.clocks.barrier_arrive(WarpId { block, warp }, 0);
        }
        self.clocks.barrier_complete(block, 0, warps);
    }

    fn sync_warp(&mut self, warp: u32, mask: u32) {
        self.clocks.warp_barrier(WarpId { block: 0, warp }, mask);
    }

    fn fence(&mut self, block: u32, warp: u32, mask: u32, scope: Scope) {
        self.clocks.fence(WarpId { block, warp }, mask, scope);
    }
}

#[track_caller]
fn races(outcome: Outcome) -> Conflict {
    *outcome.expect_err("a race went unnoticed")
}

#[track_caller]
fn clean(outcome: Outcome) {
    if let Err(conflict) = outcome {
        panic!("a false alarm: {conflict:?}");
    }
}

#[test]
fn a_barrier_orders_writes_before_reads_of_other_warps() {
    let mut scene = Scene::new(1, 128);
    for warp in 0..4 {
        clean(scene.warp((0, warp), WRITE, 128 * warp, 4, 1));
    }
    scene.sync(0, &[0, 1, 2, 3]);
    for warp in 0..4 {
        clean(scene.warp((0, warp), READ, 128 * ((warp + 1) % 4), 4, 2));
        clean(scene.warp((0, warp), READ, 128 * ((warp + 2) % 4), 4, 3));
        clean(scene.warp((0, warp), READ, 0, 0, 4));
    }
}

#[test]
fn a_missing_barrier_is_a_race_that_names_both_sides() {
    let mut scene = Scene::new(1, 128);
    clean(scene.warp((0, 2), WRITE, 256, 4, 17));
    let conflict = races(scene.lane((0, 1, 9), READ, 256 + 4 * 5, 23));
    assert_eq!(conflict.offset, 256 + 4 * 5);
    let (earlier, later) = (conflict.earlier, conflict.later);
    assert_eq!((earlier.warp.warp, earlier.lane, earlier.place, earlier.writes), (2, 5, 17, true));
    assert_eq!((later.warp.warp, later.lane, later.place, later.writes), (1, 9, 23, false));
}

#[test]
fn a_barrier_of_other_warps_orders_nothing() {
    let mut scene = Scene::new(1, 128);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    scene.sync(0, &[0, 1]);
    clean(scene.warp((0, 1), READ, 0, 4, 2));
    races(scene.warp((0, 2), READ, 0, 4, 3));
}

#[test]
fn order_passes_through_a_third_warp() {
    let mut scene = Scene::new(1, 128);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    scene.sync(0, &[0, 1]);
    scene.sync(0, &[1, 2]);
    clean(scene.warp((0, 2), WRITE, 0, 4, 2));
    races(scene.warp((0, 0), READ, 0, 4, 3));
}

#[test]
fn overwriting_what_another_warp_reads_needs_a_barrier() {
    for barrier in [true, false] {
        // Up to eight readers: more than a cell holds in place.
        for readers in 1..8 {
            let mut scene = Scene::new(1, 256);
            clean(scene.warp((0, 7), WRITE, 0, 4, 1));
            scene.sync(0, &[0, 1, 2, 3, 4, 5, 6, 7]);
            for reader in 0..readers {
                clean(scene.warp((0, reader), READ, 0, 4, 10 + reader));
            }
            if barrier {
                scene.sync(0, &[0, 1, 2, 3, 4, 5, 6, 7]);
                clean(scene.warp((0, 7), WRITE, 0, 4, 2));
            } else {
                let conflict = races(scene.warp((0, 7), WRITE, 0, 4, 2));
                assert!((10..10 + readers).contains(&conflict.earlier.place), "{conflict:?}");
            }
        }
    }
}

#[test]
fn every_single_reader_is_remembered() {
    // Seven warps read and all but one synchronise with the writer.
    for unsynchronised in 0..7 {
        let mut scene = Scene::new(1, 256);
        for reader in 0..7 {
            clean(scene.lane((0, reader, reader), READ, 40, 10 + reader));
        }
        let others: Vec<u32> = (0..8).filter(|&warp| warp != unsynchronised).collect();
        scene.sync(0, &others);
        let conflict = races(scene.lane((0, 7, 0), WRITE, 40, 2));
        assert_eq!((conflict.earlier.warp.warp, conflict.earlier.lane), (unsynchronised, unsynchronised));
        assert_eq!(conflict.earlier.place, 10 + unsynchronised);
    }
}

#[test]
fn producers_and_consumers_meet_at_named_barriers() {
    // Warp 0 produces; it arrives at barrier 1 (full) and waits at barrier 2 (empty). Warp 1 the other way round.
    let (producer, consumer) = (WarpId { block: 0, warp: 0 }, WarpId { block: 0, warp: 1 });
    let mut scene = Scene::new(1, 64);
    for round in 0..3 {
        clean(scene.warp((0, 0), WRITE, 0, 4, 10 + round));
        scene.clocks.barrier_arrive(producer, 1);
        scene.clocks.barrier_arrive(consumer, 1);
        scene.clocks.barrier_complete(0, 1, &[1]);
        clean(scene.warp((0, 1), READ, 4, 4, 20 + round).and(scene.warp((0, 1), READ, 0, 0, 20 + round)));
        scene.clocks.barrier_arrive(consumer, 2);
        scene.clocks.barrier_arrive(producer, 2);
        scene.clocks.barrier_complete(0, 2, &[0]);
    }
    // Without waiting for the empty buffer the producer overwrites what is being read.
    clean(scene.warp((0, 0), WRITE, 0, 4, 30));
    scene.clocks.barrier_arrive(producer, 1);
    scene.clocks.barrier_arrive(consumer, 1);
    scene.clocks.barrier_complete(0, 1, &[1]);
    clean(scene.warp((0, 1), READ, 0, 4, 31));
    races(scene.warp((0, 0), WRITE, 0, 4, 32));
}

#[test]
fn what_follows_an_arrival_is_not_published_by_it() {
    let mut scene = Scene::new(1, 64);
    scene.clocks.barrier_arrive(WarpId { block: 0, warp: 0 }, 3);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    scene.clocks.barrier_arrive(WarpId { block: 0, warp: 1 }, 3);
    scene.clocks.barrier_complete(0, 3, &[1]);
    races(scene.warp((0, 1), READ, 0, 4, 2));
}

#[test]
fn an_arrival_alone_teaches_the_arriving_warp_nothing() {
    let mut scene = Scene::new(1, 64);
    clean(scene.warp((0, 1), WRITE, 0, 4, 1));
    scene.clocks.barrier_arrive(WarpId { block: 0, warp: 1 }, 3);
    scene.clocks.barrier_arrive(WarpId { block: 0, warp: 0 }, 3);
    scene.clocks.barrier_complete(0, 3, &[1]);
    races(scene.warp((0, 0), READ, 0, 4, 2));
}

#[test]
fn lanes_of_a_warp_need_a_warp_barrier() {
    let mut scene = Scene::new(1, 32);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    clean(scene.warp((0, 0), READ, 0, 4, 2));
    let conflict = races(scene.lane((0, 0, 3), READ, 8, 3));
    assert_eq!((conflict.earlier.lane, conflict.later.lane), (2, 3));

    let mut scene = Scene::new(1, 32);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    scene.sync_warp(0, ALL);
    clean(scene.warp((0, 0), READ, 4, 4, 2));
    // The reads are as unordered with the next writes as the writes were with them.
    races(scene.warp((0, 0), WRITE, 0, 4, 3));
}

#[test]
fn one_place_read_by_all_lanes_is_remembered_for_each() {
    let mut scene = Scene::new(1, 32);
    clean(scene.lane((0, 0, 7), WRITE, 64, 1));
    let conflict = races(scene.warp((0, 0), READ, 64, 0, 2));
    assert_eq!((conflict.earlier.lane, conflict.later.lane), (7, 0));
    let mut scene = Scene::new(1, 32);
    clean(scene.warp((0, 0), READ, 64, 0, 2));
    races(scene.lane((0, 0, 7), WRITE, 64, 1));
}

#[test]
fn a_partial_warp_barrier_orders_its_lanes_only() {
    let mut scene = Scene::new(1, 32);
    clean(scene.lane((0, 0, 1), WRITE, 0, 1));
    clean(scene.lane((0, 0, 20), WRITE, 4, 1));
    scene.sync_warp(0, 0xffff);
    clean(scene.lane((0, 0, 9), READ, 0, 2));
    races(scene.lane((0, 0, 9), READ, 4, 3));

    let mut scene = Scene::new(1, 32);
    clean(scene.lane((0, 0, 1), WRITE, 0, 1));
    scene.sync_warp(0, 0xffff);
    races(scene.lane((0, 0, 16), READ, 0, 2));

    // Lane 1 tells lane 15, lane 15 tells lane 16.
    let mut scene = Scene::new(1, 32);
    clean(scene.lane((0, 0, 1), WRITE, 0, 1));
    scene.sync_warp(0, 0xffff);
    scene.sync_warp(0, 1 << 15 | 1 << 16);
    clean(scene.lane((0, 0, 16), WRITE, 0, 2));
    races(scene.lane((0, 0, 1), READ, 0, 3));
}

#[test]
fn a_block_barrier_also_orders_the_lanes_of_each_warp() {
    let mut scene = Scene::new(1, 64);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    scene.sync_warp(0, 0xff);
    scene.sync(0, &[0, 1]);
    clean(scene.warp((0, 0), READ, 4, 4, 2));
    clean(scene.warp((0, 1), READ, 4, 4, 2));
}

#[test]
fn lanes_that_do_not_exist_take_no_part() {
    // Warp 1 of 40 threads has eight lanes.
    let mut scene = Scene::new(1, 40);
    clean(scene.lane((0, 1, 7), WRITE, 0, 1));
    scene.sync_warp(1, 0xff);
    clean(scene.lane((0, 1, 0), WRITE, 0, 2));
    scene.sync(0, &[0, 1]);
    clean(scene.lane((0, 0, 31), WRITE, 0, 3));
}

#[test]
fn two_lanes_that_write_one_place_race_whatever_they_write() {
    let mut scene = Scene::new(1, 32);
    let conflict = races(scene.warp((0, 0), WRITE, 0, 0, 1));
    assert_eq!((conflict.earlier.lane, conflict.later.lane), (0, 1));
}

#[test]
fn bytes_of_one_word_are_apart() {
    let mut scene = Scene::new(1, 64);
    for lane in 0..32 {
        clean(scene.bytes((0, lane % 2, lane), WRITE, 100 + lane, 1, 1));
    }
    let mut scene = Scene::new(1, 64);
    clean(scene.bytes((0, 0, 0), WRITE, 0, 2, 1));
    clean(scene.bytes((0, 1, 0), WRITE, 2, 2, 1));
    let conflict = races(scene.bytes((0, 1, 0), READ, 1, 1, 2));
    assert_eq!(conflict.offset, 1);

    // A whole word, then a byte of it, then the word.
    let mut scene = Scene::new(1, 64);
    clean(scene.lane((0, 0, 0), WRITE, 0, 1));
    let conflict = races(scene.bytes((0, 1, 0), WRITE, 3, 1, 2));
    assert_eq!((conflict.offset, conflict.earlier.place), (3, 1));
    let mut scene = Scene::new(1, 64);
    clean(scene.bytes((0, 1, 0), WRITE, 3, 1, 2));
    let conflict = races(scene.bytes((0, 0, 0), READ, 0, 16, 3));
    assert_eq!((conflict.offset, conflict.earlier.place), (3, 2));
}

#[test]
fn a_split_word_is_whole_again_after_a_write_of_all_of_it() {
    let mut scene = Scene::new(1, 64);
    for round in 0..4 {
        for byte in 0..4 {
            clean(scene.bytes((0, byte % 2, byte), WRITE, 8 + byte, 1, round));
        }
        scene.sync(0, &[0, 1]);
        clean(scene.bytes((0, 1, 0), READ, 10, 2, round));
        clean(scene.lane((0, 0, 0), READ, 8, round));
        scene.sync(0, &[0, 1]);
        clean(scene.lane((0, 0, 3), WRITE, 8, 10 + round));
        scene.sync(0, &[0, 1]);
    }
    clean(scene.lane((0, 1, 4), WRITE, 8, 20));
    let conflict = races(scene.bytes((0, 0, 4), READ, 10, 2, 21));
    assert_eq!((conflict.offset, conflict.earlier.place), (10, 20));
}

#[test]
fn wide_accesses_touch_all_their_words() {
    for bytes in [8, 16, 32] {
        for word in 0..bytes / 4 {
            let mut scene = Scene::new(1, 64);
            clean(scene.bytes((0, 0, 0), WRITE, 64, bytes, 1));
            clean(scene.lane((0, 1, 0), READ, 64 + bytes, 2));
            clean(scene.lane((0, 1, 0), READ, 60, 2));
            assert_eq!(races(scene.lane((0, 1, 0), READ, 64 + 4 * word, 2)).offset, 64 + 4 * word);
        }
    }
}

#[test]
fn plain_accesses_of_two_blocks_race_if_one_writes() {
    let mut scene = Scene::new(2, 64);
    clean(scene.warp((0, 1), READ, 0, 4, 1));
    clean(scene.warp((1, 0), READ, 0, 4, 2));
    clean(scene.warp((1, 1), WRITE, 128, 4, 3));
    scene.sync(0, &[0, 1]);
    scene.sync(1, &[0, 1]);
    let conflict = races(scene.warp((0, 0), WRITE, 128, 4, 4));
    assert_eq!((conflict.earlier.warp, conflict.later.warp.block), (WarpId { block: 1, warp: 1 }, 0));
    races(scene.warp((1, 1), WRITE, 0, 4, 4));
}

#[test]
fn a_finished_block_stays_unordered_and_the_next_launch_does_not() {
    let mut scene = Scene::new(1, 32);
    clean(scene.warp((0, 0), WRITE, 0, 4, 1));
    scene.clocks.finish_block(0);
    scene.clocks.start_block(1);
    races(scene.lane((1, 0, 0), READ, 0, 2));
    scene.clocks = Clocks::new(64);
    scene.clocks.start_block(0);
    scene.region.clear();
    clean(scene.lane((0, 1, 0), WRITE, 0, 3));
}

#[test]
fn atomics_race_with_plain_accesses_only() {
    let mut scene = Scene::new(3, 64);
    for block in 0..3 {
        clean(scene.warp((block, 0), ATOMIC, 0, 0, 1));
        clean(scene.warp((block, 1), ATOMIC, 0, 0, 2));
    }
    let conflict = races(scene.lane((1, 0, 0), READ, 0, 3));
    assert!(conflict.earlier.strong && !conflict.later.strong, "{conflict:?}");

    // The reader made the last atomic itself; those before it are as unordered as ever.
    let mut scene = Scene::new(2, 32);
    clean(scene.lane((0, 0, 0), ATOMIC, 0, 1));
    clean(scene.lane((1, 0, 0), ATOMIC, 0, 2));
    assert_eq!(races(scene.lane((1, 0, 0), READ, 0, 3)).earlier.warp.block, 0);

    // Plain first.
    for kind in [READ, WRITE] {
        let mut scene = Scene::new(2, 32);
        clean(scene.lane((0, 0, 0), kind, 0, 1));
        races(scene.lane((1, 0, 0), ATOMIC, 0, 2));
    }
    let mut scene = Scene::new(1, 64);
    clean(scene.lane((0, 0, 0), WRITE, 0, 1));
    scene.sync(0, &[0, 1]);
    clean(scene.warp((0, 0), ATOMIC, 0, 0, 2));
    clean(scene.warp((0, 1), ATOMIC, 0, 0, 2));
    scene.sync(0, &[0, 1]);
    clean(scene.lane((0, 1, 0), READ, 0, 3));
}

#[test]
fn strong_accesses_are_apart_if_their_scopes_do_not_meet() {
    let in_scope = |scope| AccessKind::StrongWrite { order: Order::Relaxed, scope };
    for (first, second, second_block, race) in [
        (Scope::Block, Scope::Block, 0, false),
        (Scope::Block, Scope::Block, 1, true),
        (Scope::Device, Scope::Block, 1, true),
        (Scope::Block, Scope::Device, 1, true),
        (Scope::Device, Scope::Device, 1, false),
    ] {
        let mut scene = Scene::new(2, 64);
        clean(scene.lane((0, 0, 0), in_scope(first), 0, 1));
        let outcome = scene.lane((second_block, 1, 0), in_scope(second), 0, 2);
        assert_eq!(outcome.is_err(), race, "{first:?} then {second:?} of block {second_block}");
    }
}

/// Every block writes its part and counts itself; the last one reads all parts.
fn last_block(release: impl Fn(&mut Scene, u32), acquire: impl Fn(&mut Scene, u32)) -> Outcome {
    const BLOCKS: u32 = 5;
    const COUNTER: u32 = 4096;
    let mut scene = Scene::new(BLOCKS, 64);
    for block in [3, 0, 4, 1, 2] {
        clean(scene.warp((block, 0), WRITE, 256 * block, 4, 1));
        clean(scene.warp((block, 1), WRITE, 256 * block + 128, 4, 1));
        release(&mut scene, block);
        clean(scene.lane((block, 0, 0), ATOMIC, COUNTER, 2));
        if block == 2 {
            acquire(&mut scene, block);
            for part in 0..2 * BLOCKS {
                scene.warp((block, 1), READ, 128 * part, 4, 3)?;
            }
        } else {
            scene.clocks.finish_block(block);
        }
    }
    Ok(())
}

#[test]
fn the_last_block_may_read_what_all_fenced() {
    // Each thread fences, or one does after the barrier; the same on the way back.
    let release_all = |scene: &mut Scene, block| {
        (0..2).for_each(|warp| scene.fence(block, warp, ALL, Scope::Device));
        scene.sync(block, &[0, 1]);
    };
    let release_one = |scene: &mut Scene, block| {
        scene.sync(block, &[0, 1]);
        scene.fence(block, 0, 1, Scope::Device);
    };
    let acquire_one = |scene: &mut Scene, block| {
        scene.fence(block, 0, 1, Scope::Device);
        scene.sync(block, &[0, 1]);
    };
    let acquire_all = |scene: &mut Scene, block| {
        scene.sync(block, &[0, 1]);
        (0..2).for_each(|warp| scene.fence(block, warp, ALL, Scope::Device));
    };
    clean(last_block(release_all, acquire_one));
    clean(last_block(release_one, acquire_one));
    clean(last_block(release_all, acquire_all));
    clean(last_block(release_one, acquire_all));
}

#[test]
fn the_last_block_races_if_a_step_of_the_handshake_is_missing() {
    let nothing = |_: &mut Scene, _| {};
    let barrier = |scene: &mut Scene, block| scene.sync(block, &[0, 1]);
    let release = |scene: &mut Scene, block| {
        scene.sync(block, &[0, 1]);
        scene.fence(block, 0, 1, Scope::Device);
    };
    let release_in_block = |scene: &mut Scene, block| {
        scene.sync(block, &[0, 1]);
        scene.fence(block, 0, 1, Scope::Block);
    };
    let release_without_barrier = |scene: &mut Scene, block| scene.fence(block, 0, 1, Scope::Device);
    let acquire = |scene: &mut Scene, block| {
        scene.fence(block, 0, 1, Scope::Device);
        scene.sync(block, &[0, 1]);
    };
    let acquire_in_block = |scene: &mut Scene, block| {
        scene.fence(block, 0, 1, Scope::Block);
        scene.sync(block, &[0, 1]);
    };
    let acquire_without_barrier = |scene: &mut Scene, block| scene.fence(block, 0, 1, Scope::Device);
    clean(last_block(release, acquire));
    races(last_block(nothing, acquire));
    races(last_block(barrier, acquire));
    races(last_block(release_in_block, acquire));
    races(last_block(release_without_barrier, acquire));
    races(last_block(release, barrier));
    races(last_block(release, acquire_in_block));
    races(last_block(release, acquire_without_barrier));
    races(last_block(release, nothing));
}

#[test]
fn release_and_acquire_work_without_fences_and_per_lane() {
    let flag = 64;
    let release = AccessKind::StrongWrite { order: Order::Release, scope: Scope::Device };
    let acquire = AccessKind::StrongRead { order: Order::Acquire, scope: Scope::Device };
    let relaxed = AccessKind::StrongRead { order: Order::Relaxed, scope: Scope::Device };
    let start = || {
        let mut scene = Scene::new(2, 32);
        clean(scene.warp((0, 0), WRITE, 128, 4, 1));
        scene
    };
    let mut scene = start();
    clean(scene.lane((0, 0, 5), release, flag, 2));
    clean(scene.lane((1, 0, 6), acquire, flag, 3));
    // Lane 5 released what lane 5 wrote and lane 6 alone acquired it.
    clean(scene.lane((1, 0, 6), READ, 128 + 4 * 5, 4));
    races(scene.lane((1, 0, 7), READ, 128 + 4 * 5, 4));

    let mut scene = start();
    clean(scene.lane((0, 0, 5), release, flag, 2));
    clean(scene.lane((1, 0, 6), acquire, flag, 3));
    races(scene.lane((1, 0, 6), READ, 128, 4));

    // What lane 5 does after its release is not released.
    let mut scene = start();
    clean(scene.lane((0, 0, 5), release, flag, 2));
    clean(scene.lane((0, 0, 5), WRITE, 0, 2));
    clean(scene.lane((1, 0, 6), acquire, flag, 3));
    races(scene.lane((1, 0, 6), READ, 0, 4));

    // With warp barriers on both sides every lane's write reaches every lane.
    let mut scene = start();
    scene.sync_warp(0, ALL);
    clean(scene.lane((0, 0, 5), release, flag, 2));
    clean(scene.lane((1, 0, 6), acquire, flag, 3));
    scene.clocks.warp_barrier(WarpId { block: 1, warp: 0 }, ALL);
    clean(scene.warp((1, 0), WRITE, 128, 4, 4));

    let mut scene = start();
    scene.sync_warp(0, ALL);
    clean(scene.lane((0, 0, 5), release, flag, 2));
    clean(scene.lane((1, 0, 6), relaxed, flag, 3));
    races(scene.lane((1, 0, 6), READ, 128, 4));
}

#[test]
fn a_strong_store_ends_what_an_earlier_one_released_and_an_increment_does_not() {
    let acquire = AccessKind::StrongRead { order: Order::Acquire, scope: Scope::Device };
    let release = AccessKind::StrongWrite { order: Order::Release, scope: Scope::Device };
    let store = AccessKind::StrongWrite { order: Order::Relaxed, scope: Scope::Device };
    let reduce = AccessKind::Reduce { order: Order::Relaxed, scope: Scope::Device };
    for (between, race) in [(reduce, false), (ATOMIC, false), (store, true)] {
        let mut scene = Scene::new(3, 32);
        clean(scene.lane((0, 0, 0), WRITE, 0, 1));
        clean(scene.lane((0, 0, 0), release, 64, 2));
        clean(scene.lane((1, 0, 0), between, 64, 3));
        clean(scene.lane((2, 0, 0), acquire, 64, 4));
        assert_eq!(scene.lane((2, 0, 0), READ, 0, 5).is_err(), race, "{between:?}");
    }
}

#[test]
fn a_reduction_acquires_nothing() {
    for (kind, race) in [
        (AccessKind::Reduce { order: Order::AcquireRelease, scope: Scope::Device }, true),
        (AccessKind::Atomic { order: Order::AcquireRelease, scope: Scope::Device }, false),
    ] {
        let mut scene = Scene::new(2, 32);
        clean(scene.lane((0, 0, 0), WRITE, 0, 1));
        clean(scene.lane((0, 0, 0), kind, 64, 2));
        clean(scene.lane((1, 0, 0), kind, 64, 3));
        assert_eq!(scene.lane((1, 0, 0), READ, 0, 5).is_err(), race, "{kind:?}");
    }
}

#[test]
fn flags_in_shared_memory_work_in_block_scope() {
    let atomic = AccessKind::Atomic { order: Order::Relaxed, scope: Scope::Block };
    for fenced in [true, false] {
        let mut scene = Scene::new(1, 64);
        clean(scene.warp((0, 0), WRITE, 128, 4, 1));
        if fenced {
            scene.fence(0, 0, ALL, Scope::Block);
            scene.sync_warp(0, ALL);
        }
        clean(scene.lane((0, 0, 0), atomic, 0, 2));
        clean(scene.warp((0, 1), atomic, 0, 0, 3));
        scene.fence(0, 1, ALL, Scope::Block);
        assert_eq!(scene.warp((0, 1), READ, 128 + 4, 4, 4).is_err(), !fenced);
    }
}

#[test]
fn an_asynchronous_copy_is_untouchable_until_waited_for() {
    let warp = WarpId { block: 0, warp: 0 };
    for (kind, reader) in [(READ, (0, 0, 4)), (READ, (0, 1, 0)), (WRITE, (0, 0, 4)), (ATOMIC, (0, 0, 4))] {
        let mut scene = Scene::new(1, 64);
        let write = scene.region.async_begin(&scene.clocks, warp, 4, 64, 16, 1).expect("nobody was here");
        // A barrier does not wait for the copy.
        scene.sync(0, &[0, 1]);
        clean(scene.lane(reader, READ, 80, 2));
        let conflict = races(scene.lane(reader, kind, 76, 2));
        assert!(conflict.earlier.in_flight && conflict.earlier.writes, "{conflict:?}");
        assert_eq!((conflict.offset, conflict.earlier.lane, conflict.earlier.place), (76, 4, 1));
        let _ = write;
    }
    let mut scene = Scene::new(1, 64);
    scene.region.async_begin(&scene.clocks, warp, 4, 64, 16, 1).expect("nobody was here");
    let conflict = scene.region.async_begin(&scene.clocks, warp, 4, 64, 16, 2).expect_err("two copies to one place");
    assert!(conflict.later.in_flight && conflict.earlier.in_flight);
}

#[test]
fn a_landed_copy_is_a_write_of_its_lane() {
    let warp = WarpId { block: 0, warp: 0 };
    let landed = || {
        let mut scene = Scene::new(1, 64);
        let write = scene.region.async_begin(&scene.clocks, warp, 4, 64, 16, 1).expect("nobody was here");
        scene.sync(0, &[0, 1]);
        scene.region.async_complete(&scene.clocks, write);
        scene
    };
    clean(landed().lane((0, 0, 4), READ, 64, 2));
    races(landed().lane((0, 0, 5), READ, 64, 2));
    // The barrier before the wait does not count.
    races(landed().lane((0, 1, 5), READ, 64, 2));
    let mut scene = landed();
    scene.sync_warp(0, ALL);
    clean(scene.lane((0, 0, 5), READ, 64, 2));
    let mut scene = landed();
    scene.sync(0, &[0, 1]);
    clean(scene.lane((0, 1, 5), READ, 64, 2));
    clean(scene.lane((0, 1, 6), READ, 76, 2));
}

#[test]
fn a_copy_over_what_others_still_read_races_when_it_is_issued() {
    for barrier in [true, false] {
        let mut scene = Scene::new(1, 64);
        clean(scene.bytes((0, 1, 3), READ, 64, 16, 1));
        if barrier {
            scene.sync(0, &[0, 1]);
        }
        let begun = scene.region.async_begin(&scene.clocks, WarpId { block: 0, warp: 0 }, 0, 64, 16, 2);
        assert_eq!(begun.is_err(), !barrier);
    }
}

#[test]
fn a_pipeline_of_copies_is_clean_and_one_missing_step_is_not() {
    // Two stages; warp 0 fills a stage while both warps read the other.
    let pipeline = |wait: bool, first_barrier: bool, second_barrier: bool| -> Outcome {
        let warp = WarpId { block: 0, warp: 0 };
        let mut scene = Scene::new(1, 64);
        let stage = |step: u32| 1024 * (step % 2);
        let mut flying = Vec::new();
        let fill = |scene: &mut Scene, step: u32| -> Result<Vec<_>, Box<Conflict>> {
            (0..32)
                .map(|lane| scene.region.async_begin(&scene.clocks, warp, lane, stage(step) + 16 * lane, 16, step))
                .collect()
        };
        flying.push(fill(&mut scene, 0)?);
        for step in 0..6 {
            if wait {
                for write in flying.pop().expect("a stage is in flight") {
                    scene.region.async_complete(&scene.clocks, write);
                }
            }
            if first_barrier {
                scene.sync(0, &[0, 1]);
            }
            flying.push(fill(&mut scene, step + 1)?);
            for reader in 0..2 {
                scene.warp((0, reader), READ, stage(step) + 64, 4, 100 + step)?;
            }
            if second_barrier {
                scene.sync(0, &[0, 1]);
            }
        }
        Ok(())
    };
    clean(pipeline(true, true, true));
    // One barrier per step is enough with two stages, as the copy is issued after it.
    clean(pipeline(true, true, false));
    races(pipeline(true, false, true));
    races(pipeline(false, true, true));
    races(pipeline(true, false, false));
}
