//! Mistakes in what `spmm24.cu` takes from `pipeline.cuh` and `operands.cuh`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "no barrier between the copies and their readers",
        find: "copy_async_wait<STAGES - 2>();\n        __syncthreads();",
        replace: "copy_async_wait<STAGES - 2>();",
        expect: Expect::Fault(&["race", "cp.async", "uninitialised shared"]),
    },
    Defect {
        name: "one group of copies too many is left under way",
        find: "copy_async_wait<STAGES - 2>();",
        replace: "copy_async_wait<STAGES - 1>();",
        expect: Expect::Fault(&["cp.async", "uninitialised shared"]),
    },
    Defect {
        name: "the tile of Y overwrites stages that are still read",
        find: "copy_async_wait<0>();\n    __syncthreads();",
        replace: "copy_async_wait<0>();",
        expect: Expect::Fault(&["race"]),
    },
    Defect {
        name: "no barrier between the tile of Y and its readers",
        find: "    __syncthreads();\n\n    // From there to memory",
        replace: "    // From there to memory",
        expect: Expect::Fault(&["race", "uninitialised shared"]),
    },
    Defect {
        name: "every product takes the first selector",
        find: "multiply<1>(odd",
        replace: "multiply<0>(odd",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "every step takes the first one's metadata",
        find: "[step * Tile::M + warp_m",
        replace: "[0 * Tile::M + warp_m",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "metadata is read beyond the last column",
        find: "(wanted < last_step ? wanted : last_step) * rows",
        replace: "wanted * rows",
        expect: Expect::Fault(&["out of bounds"]),
    },
    Defect {
        name: "one row of weights too many is copied",
        find: "pass * ROWS_AT_ONCE < rows_left",
        replace: "pass * ROWS_AT_ONCE <= rows_left",
        expect: Expect::Fault(&["out of bounds"]),
    },
];
