//! Mistakes in `refine.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "both sums of a step in one place",
        find: "__shared__ double curvature_sums[THREADS / WARP], energy_sums[THREADS / WARP];",
        replace: "__shared__ double curvature_sums[THREADS / WARP];\n    double* energy_sums = curvature_sums;",
        expect: Expect::Fault(&["race"]),
    },
    Defect {
        name: "solved rows are stepped",
        find: "    if (!(curvature > 0.0 && before > 0.0)) return;\n",
        replace: "",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the energy of a step is not kept",
        find: "params.energy[row] = after;",
        replace: "params.energy[row] = before;",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the direction does not turn",
        find: "turn * direction[column])",
        replace: "0.0f * turn * direction[column])",
        expect: Expect::WrongResult,
    },
];
