//! Mistakes in `elementwise.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "one column too many at the end of a row",
        find: "static_cast<int>(shape.columns) - column, row",
        replace: "static_cast<int>(shape.columns) - column + 1, row",
        expect: Expect::Anything,
    },
    Defect {
        name: "one row too many",
        find: "row < shape.rows}",
        replace: "row <= shape.rows}",
        expect: Expect::Anything,
    },
    Defect {
        name: "the angles do not begin again with the next head",
        find: "angle = 2 * (angle + 1) == p.head_dim ? 0 : angle + 1;",
        replace: "angle = angle + 1;",
        expect: Expect::Anything,
    },
    Defect {
        name: "a gate per token instead of per batch row",
        find: "place.row / p.tokens, place.column), place.count",
        replace: "place.row % p.tokens, place.column), place.count",
        expect: Expect::Anything,
    },
    Defect {
        name: "the old values are read although nothing of them is kept",
        find: "    if (p.keep != 0.0f) {\n",
        replace: "    {\n",
        expect: Expect::WrongResult,
    },
];
