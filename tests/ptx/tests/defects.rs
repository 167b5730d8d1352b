//! Planted defects (`data/defects.cu`): each is found under every schedule, and its clean twin is silent.

use obsdiff_ptx::{Fault, FaultKind, LaunchStats, Machine, Module, Options, Schedule};

use FaultKind::{
    BarrierDeadlock, CpAsyncInFlight, DivergentBarrier, Misaligned, NonCoherent, OutOfBounds, PartialMask, Race,
    UninitialisedShared,
};

/// Each defect with what may be said about it. Where there are several answers, the schedule decides which access
/// comes first.
const DEFECTS: [(&str, &[FaultKind]); 19] = [
    ("missing_syncthreads", &[Race, UninitialisedShared]),
    ("missing_second_barrier", &[Race]),
    ("missing_syncwarp", &[Race]),
    ("wrong_wait_count", &[CpAsyncInFlight]),
    ("missing_commit", &[CpAsyncInFlight]),
    ("missing_barrier_after_wait", &[Race, CpAsyncInFlight, UninitialisedShared]),
    ("off_by_one", &[OutOfBounds]),
    ("shared_overrun", &[OutOfBounds]),
    ("early_return_before_barrier", &[DivergentBarrier]),
    ("early_return_before_shuffle", &[PartialMask]),
    ("wrong_mask", &[PartialMask]),
    ("race_between_blocks", &[Race]),
    ("lost_update", &[Race]),
    ("missing_threadfence", &[Race]),
    ("uninitialised_shared", &[UninitialisedShared]),
    ("divergent_barrier", &[DivergentBarrier]),
    ("missing_arrival", &[BarrierDeadlock]),
    ("stale_read_only", &[NonCoherent]),
    ("misaligned_vector", &[Misaligned]),
];

const N: usize = 256;

fn module() -> Module {
    let path = format!("{}/tests/data/defects.ptx", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Module::parse("defects.ptx", &text).unwrap_or_else(|error| panic!("{error}"))
}

fn launch(module: &Module, kernel: &str, schedule: Schedule) -> Result<LaunchStats, Fault> {
    let mut machine = Machine::new(Options { schedule, resident_blocks: 2, max_steps: 1 << 20 });
    let [input, out, scratch] = ["in", "out", "scratch"].map(|name| machine.allocate(4 * N, name));
    let values: Vec<u8> = (0..N as i32).flat_map(|i| (i * 7).to_le_bytes()).collect();
    machine.write(input, &values).unwrap();
    machine.fill(scratch, 0, 4 * N).unwrap();
    let mut parameters: Vec<u8> = [input, out, scratch].iter().flat_map(|pointer| pointer.to_le_bytes()).collect();
    parameters.extend((N as u64).to_le_bytes());
    machine.launch(module, kernel, [2, 1, 1], [128, 1, 1], 0, &parameters)
}

fn schedules(count: u64) -> impl Iterator<Item = Schedule> {
    std::iter::once(Schedule::RoundRobin).chain((0..count).map(Schedule::Random))
}

#[test]
fn every_defect_is_found_under_every_schedule() {
    let module = module();
    for (kernel, kinds) in DEFECTS {
        for schedule in schedules(20) {
            match launch(&module, kernel, schedule) {
                Ok(_) => panic!("{kernel} passes under {schedule:?}"),
                Err(fault) => assert!(kinds.contains(&fault.kind), "{kernel} under {schedule:?}: {fault}"),
            }
        }
    }
}

#[test]
fn clean_twins_are_silent_over_a_hundred_schedules() {
    let module = module();
    for (kernel, _) in DEFECTS {
        let clean = format!("{kernel}_clean");
        for schedule in schedules(100) {
            launch(&module, &clean, schedule).unwrap_or_else(|fault| panic!("{schedule:?}: {fault}"));
        }
    }
}

#[test]
fn every_defect_has_its_row() {
    let module = module();
    let mut kernels: Vec<&str> = module.kernels().filter(|kernel| !kernel.ends_with("_clean")).collect();
    let mut rows: Vec<&str> = DEFECTS.iter().map(|row| row.0).collect();
    kernels.sort_unstable();
    rows.sort_unstable();
    assert_eq!(kernels, rows);
}

#[test]
fn a_defect_is_located_in_its_source() {
    let fault = launch(&module(), "off_by_one", Schedule::RoundRobin).unwrap_err();
    let source = fault.place.as_ref().and_then(|place| place.source.clone()).unwrap();
    assert!(source.starts_with("defects.cu:"), "{source}");
    assert!(fault.to_string().contains("0 past the end of `in` (1024 bytes)"), "{fault}");
}
