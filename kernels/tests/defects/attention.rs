//! Mistakes in the pipeline of `attention.cu`.

use crate::defect::{Defect, Expect};

pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "no barrier between the copies of a key tile and its readers",
        find: "        __syncthreads();  // the key tile is there",
        replace: "        // the key tile is there",
        expect: Expect::Fault(&["race", "cp.async", "uninitialised"]),
    },
    Defect {
        name: "no barrier between the copies of a value tile and its readers",
        find: "        __syncthreads();  // the value tile is there",
        replace: "        // the value tile is there",
        expect: Expect::Fault(&["race", "cp.async", "uninitialised"]),
    },
    Defect {
        name: "a value tile is read with its copies under way",
        find: "copy_async_wait<1>();\n        __syncthreads();  // the value tile",
        replace: "copy_async_wait<2>();\n        __syncthreads();  // the value tile",
        expect: Expect::Fault(&["race", "cp.async", "uninitialised"]),
    },
    Defect {
        name: "no empty group after the last key tile, so the last value tile is not waited for",
        find: "if (more) load_key(free_slot);\n        copy_async_commit();",
        replace: "if (more) {\n            load_key(free_slot);\n            copy_async_commit();\n        }",
        expect: Expect::Fault(&["race", "cp.async", "uninitialised"]),
    },
    Defect {
        name: "a ring of two slots: tiles are overwritten while they are read",
        find: "constexpr int SLOTS = 3;",
        replace: "constexpr int SLOTS = 2;",
        expect: Expect::Fault(&["race", "cp.async"]),
    },
    Defect {
        name: "one key too many in a stream's last tile",
        find: "return min(keys, p.stream[stream].tokens - first);",
        replace: "return min(keys, p.stream[stream].tokens - first + 1);",
        expect: Expect::Anything,
    },
    Defect {
        name: "the first stream's keys instead of the second's",
        find: "            ++stream;\n",
        replace: "",
        expect: Expect::WrongResult,
    },
    Defect {
        name: "warps without queries leave before the barriers",
        find: "    KeyTile place; ",
        replace: "    if (!busy) return;\n    KeyTile place; ",
        expect: Expect::Anything,
    },
];
