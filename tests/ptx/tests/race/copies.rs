//! `cp.async`.

use obsdiff_ptx::race::{Conflict, WarpId};

use crate::{ALL, ATOMIC, Outcome, READ, Scene, WRITE, clean, races};

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
