//! Mistakes in `pack24.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "a third nonzero is let through",
        find: "__popc(nonzero) > 2",
        replace: "__popc(nonzero) > 3",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "a group without nonzeros keeps one place only",
        find: "for (int i = 0; i < 2; ++i) kept |=",
        replace: "for (int i = 0; i < 1; ++i) kept |=",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "minus zero counts as a value",
        find: "MAGNITUDE = 0x7fffu",
        replace: "MAGNITUDE = 0xffffu",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "the first refused group is written without an atomic",
        find: "atomicMin(p.first_bad, static_cast<unsigned long long>(word * 4 + group));",
        replace: "*p.first_bad = static_cast<unsigned long long>(word * 4 + group);",
        expect: Expect::Anything,
    },
    Defect {
        name: "one row too many is repacked",
        find: "return row < p.rows ? p.metadata",
        replace: "return row <= p.rows ? p.metadata",
        expect: Expect::Fault(&["out of bounds"]),
    },
    Defect {
        name: "the pairs of lanes are exchanged",
        find: "lane % 4 / 2 * 16 + lane / 4",
        replace: "(1 - lane % 4 / 2) * 16 + lane / 4",
        expect: Expect::WrongResult,
    },
];
