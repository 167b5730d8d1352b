//! Mistakes in `rearrange.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "one row too many",
        find: "if (row >= p.rows) return;",
        replace: "if (row > p.rows) return;",
        expect: Expect::Anything,
    },
    Defect {
        name: "one value too many",
        find: "if (index >= p.total) return;",
        replace: "if (index > p.total) return;",
        expect: Expect::Anything,
    },
    Defect {
        name: "rows of the source as far apart as those of the result",
        find: "static_cast<const Unit*>(p.from) + row * p.from_stride",
        replace: "static_cast<const Unit*>(p.from) + row * p.to_stride",
        expect: Expect::Anything,
    },
    Defect {
        name: "the slowest axis is forgotten",
        find: "for (int k = MAX_AXES - 1; k >= 0; --k) {",
        replace: "for (int k = MAX_AXES - 1; k > 0; --k) {",
        expect: Expect::Anything,
    },
];
