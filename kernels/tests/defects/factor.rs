//! Mistakes in `factor.cu`, `factor_product.cuh` and `factor_block.cuh`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "the operand is stored while the ring below it is still read",
        find: "multiply<Arithmetic>(sums, update, update_steps);\n    __syncthreads();",
        replace: "multiply<Arithmetic>(sums, update, update_steps);",
        expect: Expect::Fault(&["race"]),
    },
    Defect {
        name: "one step's copies are not waited for",
        find: "copy_async_wait<STAGES - 2>();",
        replace: "copy_async_wait<STAGES - 1>();",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "the panel is solved by the inverse alone",
        find: "sums[f][e] += product[f][e];",
        replace: "sums[f][e] += 0.0f * product[f][e];",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the low part of the right operand is left out",
        find: "right_high[n][i] = x.high, right_low[n][i] = x.low;",
        replace: "right_high[n][i] = x.high, right_low[n][i] = 0;",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "two registers of the left fragment are swapped",
        find: "const int column = first_row() + m * 16 + g + i % 2 * 8;",
        replace: "const int column = first_row() + m * 16 + g + (i + 1) % 2 * 8;",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the diagonal tile before the outer block does not follow",
        find: "if (column < rows_end - OUTER - 1) return;",
        replace: "if (column < rows_end - OUTER && column != row - 1) return;",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "a row reads the inverse that the next row's block is writing",
        find: "matrix.turned + column % 2 * TRIANGLE_TILE_VALUES);",
        replace: "matrix.turned + (column + 1) % 2 * TRIANGLE_TILE_VALUES);",
        expect: Expect::Anything,
    },
    Defect {
        name: "trailing tiles are updated by the rows after their outer block",
        find: "n = matrix.tiles - p.step;",
        replace: "n = matrix.tiles - p.step + 1;",
        expect: Expect::Anything,
    },
    Defect {
        name: "partial sums of the diagonal are read before they are written",
        find: "partial[threadIdx.x / WARP] = sum;\n    __syncthreads();",
        replace: "partial[threadIdx.x / WARP] = sum;",
        expect: Expect::Fault(&["race", "uninitialised"]),
    },
    Defect {
        name: "a pivot that is NaN passes",
        find: "if (!(pivot > 0.0f && is_finite(pivot)) && failed == NO_FAILURE)",
        replace: "if (pivot <= 0.0f && failed == NO_FAILURE)",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "vectors of a panel are used before they are solved",
        find: "solve_vector(block, panel, threadIdx.x);\n        __syncthreads();",
        replace: "solve_vector(block, panel, threadIdx.x);",
        expect: Expect::Fault(&["race"]),
    },
    Defect {
        name: "L is taken for V left of the diagonal",
        find: "if (zeros > 2) vector.z = 0.0f;",
        replace: "",
        expect: Expect::WrongResult,
    },
];
