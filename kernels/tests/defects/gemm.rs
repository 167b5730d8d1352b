//! Mistakes in what `gemm.cu` takes from `pipeline.cuh` and `operands.cuh`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "no barrier between the copies and their readers",
        find: "copy_async_wait<STAGES - 2>();\n        __syncthreads();",
        replace: "copy_async_wait<STAGES - 2>();",
        expect: Expect::Fault(&["race", "cp.async", "uninitialised shared"]),
    },
    Defect {
        name: "fragments of the next step are loaded from this one",
        find: "(weight_place ^ (step * 32))",
        replace: "(weight_place ^ (step / 2 * 64))",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the low part of a split operand is left out",
        find: "multiply_add_tf32(d, w.half[half], x.low[half]);",
        replace: "",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the second half of a step is the first one again",
        find: "(place ^ (i % 2 * 2 * CHUNK_BYTES))",
        replace: "place",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the bias is read beyond the last feature",
        find: "p.bias == nullptr || feature >= p.features",
        replace: "p.bias == nullptr",
        expect: Expect::Fault(&["out of bounds"]),
    },
    Defect {
        name: "one column too many is copied",
        find: "column + i < columns_left",
        replace: "column + i <= columns_left",
        expect: Expect::Anything,
    },
    Defect {
        name: "the last band of blocks is taken for a whole one",
        find: "min(BAND, n_tiles - band)",
        replace: "BAND",
        expect: Expect::Anything,
    },
    Defect {
        name: "tokens beyond the last are written",
        find: "if (first_token + token < p.tokens && feature < p.features)",
        replace: "if (feature < p.features)",
        expect: Expect::Anything,
    },
];
