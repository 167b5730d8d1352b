//! Mistakes in `gram.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "no barrier between tiles",
        find: "        // The next tile's first copies go where the last steps of this one are read.\n        __syncthreads();\n",
        replace: "",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "no barrier between steps",
        find: "        // Every thread's copies of this step have arrived, and nobody reads the stage that is filled next.\n        __syncthreads();\n",
        replace: "",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "waits for one copy too few",
        find: "copy_async_wait<STAGES - 2>();",
        replace: "copy_async_wait<STAGES - 1>();",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "halves of the left fragment swapped",
        find: "k0 + matrix / 2 * 8 + r, column = quarter.row + m * 16 + matrix % 2 * 8;",
        replace: "k0 + matrix % 2 * 8 + r, column = quarter.row + m * 16 + matrix / 2 * 8;",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "one row weight too many",
        find: "token + static_cast<int>(threadIdx.x) < item.tokens;",
        replace: "token + static_cast<int>(threadIdx.x) <= item.tokens;",
        expect: Expect::Fault(&["out of bounds"]),
    },
    Defect {
        name: "a chain is added twice",
        find: "    });\n    clear(sums);\n}",
        replace: "    });\n}",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "padding takes the products of an input that is NaN",
        find: "const bool inside = matrix_row < item.columns;",
        replace: "const bool inside = true;",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "a band ends one tile late",
        find: "rest >= (top + BAND) * (top + BAND + 1) / 2",
        replace: "rest > (top + BAND) * (top + BAND + 1) / 2",
        expect: Expect::Fault(&["out of bounds"]),
    },
];
