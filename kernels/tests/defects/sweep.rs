//! Defects of the column sweep, by file.

use crate::defect::{Defect, Expect};

/// In `sweep_select.cu`.
pub const SELECT: &[Defect] = &[
    Defect {
        name: "only the first dead column",
        find: "p.dead[place % p.count]",
        replace: "p.dead[0]",
        expect: Expect::Anything,
    },
    Defect {
        name: "no barrier between staging P and the products",
        find: "    copy_async_wait<0>();\n    __syncthreads();\n\n    const float* inverse",
        replace: "    copy_async_wait<0>();\n\n    const float* inverse",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "one copy may still be under way",
        find: "    copy_async_wait<0>();",
        replace: "    copy_async_wait<1>();",
        expect: Expect::Fault(&["cp.async", "race"]),
    },
    Defect {
        name: "rows of U's fragment in the order of a 16-bit operand",
        find: "(step * STEP + i * 4 + t) * BLOCK",
        replace: "(step * STEP + t * 2 + i) * BLOCK",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the middle strip is done twice",
        find: "strip <= last;",
        replace: "strip <= last + 1;",
        expect: Expect::Anything,
    },
    Defect {
        name: "the next block's histogram is not cleared",
        find: "p.block + 1 < p.blocks",
        replace: "p.block + 2 < p.blocks",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "padding counts as scores",
        find: "if (inside && bits >> (SHIFT + 10) == cut.prefix)",
        replace: "if (bits >> (SHIFT + 10) == cut.prefix)",
        expect: Expect::WrongResult,
    },
];

/// In `sweep_columns.cu`.
pub const COLUMNS: &[Defect] = &[
    Defect {
        name: "no barrier between staging U and the sweep",
        find: "    copy_async_wait<0>();\n    __syncthreads();\n    switch",
        replace: "    copy_async_wait<0>();\n    switch",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "a lane's turn changes the weights that it decided on",
        find: "row / LANE_COLUMNS < column / LANE_COLUMNS",
        replace: "row / LANE_COLUMNS <= column / LANE_COLUMNS",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "one tie too many falls",
        find: "rank[r]++ < found.rest",
        replace: "rank[r]++ <= found.rest",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "ties of the own row count twice",
        find: "row < first + r; ++row",
        replace: "row <= first + r; ++row",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "equal scores of a group: the later falls",
        find: "const bool below = bits[earlier] <= bits[c];",
        replace: "const bool below = bits[earlier] < bits[c];",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "only the first lane of a wide group takes its marks",
        find: "if (first == turn) {",
        replace: "if (lane == turn) {",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "lanes without a row leave before the sum over the warp",
        find: "if (first + r >= static_cast<int>(tile.rows) || column >= width) continue;\n        const size_t row",
        replace: "if (first + r >= static_cast<int>(tile.rows) || column >= width) return;\n        const size_t row",
        expect: Expect::Anything,
    },
];

/// In `sweep_trailing.cu`.
pub const TRAILING: &[Defect] = &[
    Defect {
        name: "a stage is refilled while it is read",
        find: "        __syncthreads();\n        if (chunk + STAGES < chunks)",
        replace: "        if (chunk + STAGES < chunks)",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "the stage about to be read may be under way",
        find: "copy_async_wait<STAGES - 1>();",
        replace: "copy_async_wait<STAGES>();",
        expect: Expect::Fault(&["cp.async", "race"]),
    },
    Defect {
        name: "columns and depth of the right operand's matrices swapped",
        find: "swizzled(row, step * 2 + lane / 8 % 2)",
        replace: "swizzled(row, step * 2 + lane / 16)",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "finished columns of the tile are updated",
        find: "if (column < static_cast<int>(p.first_column)) continue;",
        replace: "",
        expect: Expect::Anything,
    },
];
