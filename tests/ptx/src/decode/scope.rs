//! Names in force at a place of a function body.

use std::collections::HashMap;

use crate::instruction::Slot;
use crate::syntax::{Scalar, Space};

/// What a name stands for.
#[derive(Debug, Clone)]
pub(super) enum Entity {
    Register { slot: Slot, scalar: Scalar },
    Variable { symbol: u32, space: Space, bytes: Option<u32> },
    Label(u32),
    Targets(Vec<String>),
}

/// The names of one `{ }`.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub names: HashMap<String, Entity>,
    /// `%r<12>`: prefix, count, type. Members enter `names` when they are first used.
    pub families: Vec<(String, u32, Scalar)>,
}

impl Scope {
    /// The type of `name` if it is a member of one of the families.
    pub fn family_of(&self, name: &str) -> Option<Scalar> {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        self.families.iter().find_map(|(prefix, count, scalar)| {
            let number = name.strip_prefix(prefix.as_str())?;
            let plain = !number.is_empty() && number.len() <= digits && (number.len() == 1 || !number.starts_with('0'));
            (plain && number.parse::<u32>().ok()? < *count).then_some(*scalar)
        })
    }
}
