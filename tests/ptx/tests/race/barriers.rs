//! Barriers of blocks and warps, and the bytes that accesses touch.

use obsdiff_ptx::race::WarpId;

use crate::{ALL, READ, Scene, WRITE, clean, races};

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
