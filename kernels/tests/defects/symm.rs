//! Mistakes in `symm.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
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
        name: "reads the half of a diagonal tile that is not stored",
        find: "(i == j) & (row >= n);",
        replace: "(i == j) & (row <= n);",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "one column of the left side too many",
        find: "first + k < params.size);",
        replace: "first + k <= params.size);",
        expect: Expect::Fault(&["out of bounds"]),
    },
    Defect {
        name: "the second chain replaces the first",
        find: "const bool first_chain = step < CHAIN / STEP;",
        replace: "const bool first_chain = true;",
        expect: Expect::WrongResult,
    },
];
