//! Order between blocks: fences, atomics, release and acquire.

use obsdiff_ptx::race::{AccessKind, Clocks, Order, Scope, WarpId};

use crate::{ALL, ATOMIC, Outcome, READ, Scene, WRITE, clean, races};

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

    // The last atomic observed those before it, but another lane's access is unordered with it.
    let mut scene = Scene::new(2, 32);
    clean(scene.lane((0, 0, 0), ATOMIC, 0, 1));
    clean(scene.lane((1, 0, 0), ATOMIC, 0, 2));
    clean(scene.lane((1, 0, 0), READ, 0, 3));
    assert_eq!(races(scene.lane((0, 0, 0), READ, 0, 3)).earlier.warp.block, 1);

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
fn the_last_of_several_atomics_may_be_followed_by_a_weak_store() {
    let reset = |counting: AccessKind, resetting: AccessKind| {
        let mut scene = Scene::new(3, 64);
        clean(scene.lane((0, 0, 0), counting, 64, 1));
        clean(scene.lane((1, 0, 5), counting, 64, 1));
        clean(scene.lane((2, 1, 7), resetting, 64, 1));
        scene
    };
    clean(reset(ATOMIC, ATOMIC).lane((2, 1, 7), WRITE, 64, 2));
    // Another lane needs to be ordered after the atomic, and then is ordered after all.
    races(reset(ATOMIC, ATOMIC).lane((2, 1, 8), WRITE, 64, 2));
    let mut scene = reset(ATOMIC, ATOMIC);
    scene.sync(2, &[0, 1]);
    clean(scene.lane((2, 0, 0), WRITE, 64, 2));
    // A read observes the last value, but not what the atomics before it have changed.
    let read = AccessKind::StrongRead { order: Order::Relaxed, scope: Scope::Device };
    races(reset(ATOMIC, read).lane((2, 1, 7), WRITE, 64, 2));
    // A store that nobody observed stays unordered.
    let store = AccessKind::StrongWrite { order: Order::Relaxed, scope: Scope::Device };
    races(reset(store, ATOMIC).lane((2, 1, 7), WRITE, 64, 2));
}
