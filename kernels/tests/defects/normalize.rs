//! Mistakes in `normalize.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "lanes beyond the last group leave before the sum over lanes",
        find: "    const int width = group < p.total ? p.width : 0;",
        replace: "    if (group >= p.total) return;\n    const int width = p.width;",
        expect: Expect::Anything,
    },
    Defect {
        name: "values beyond the row count in the variance",
        find: "start + i < p.width ? values[i] - mean : 0.0f",
        replace: "values[i] - mean",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "one row too many",
        find: "if (row >= p.rows) return;",
        replace: "if (row > p.rows) return;",
        expect: Expect::Anything,
    },
    Defect {
        name: "scale of the wrong batch row",
        find: "row_of<const T>(p.scale, row / p.tokens)",
        replace: "row_of<const T>(p.scale, row % p.tokens)",
        expect: Expect::Anything,
    },
    Defect {
        name: "the sum over lanes leaves out one step",
        find: "for (int offset = p.lanes / 2; offset > 0; offset /= 2)",
        replace: "for (int offset = p.lanes / 2; offset > 1; offset /= 2)",
        expect: Expect::WrongResult,
    },
];
