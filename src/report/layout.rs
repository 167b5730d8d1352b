//! Where a Linear stands in the model, from its name: stack of blocks, index of the block, kind of the Linear.

use serde::Serialize;

/// A Linear's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// `transformer_blocks`, `single_transformer_blocks`; empty for a name without a number.
    pub stack: String,
    /// Block, counted from 0 in its stack.
    pub block: usize,
    /// What follows the block's index, such as `attn.to_q`.
    pub kind: String,
}

/// Kinds of Linears that are shown together.
pub const GROUPS: [Group; 6] = [
    Group { title: "Attention inputs, image", kinds: &["attn.to_q", "attn.to_k", "attn.to_v"] },
    Group { title: "Attention inputs, text", kinds: &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"] },
    Group { title: "Second attention, image", kinds: &["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"] },
    Group { title: "Attention outputs", kinds: &["attn.to_out.0", "attn.to_add_out"] },
    Group { title: "Feed-forward", kinds: &["ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"] },
    Group { title: "Other", kinds: &[] },
];

/// Kinds of the single-stream blocks of FLUX.
pub const SINGLE: Group =
    Group { title: "Single-stream blocks", kinds: &["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"] };

/// A few kinds of Linears with the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub title: &'static str,
    pub kinds: &'static [&'static str],
}

const SINGLE_STACK: &str = "single_transformer_blocks";

impl Position {
    /// Of the Linear `name`.
    pub fn of(name: &str) -> Self {
        let parts: Vec<&str> = name.split('.').collect();
        let numbered = parts.iter().enumerate().find_map(|(at, part)| Some((at, part.parse::<usize>().ok()?)));
        match numbered {
            Some((at, block)) if at > 0 && at + 1 < parts.len() => {
                Position { stack: parts[..at].join("."), block, kind: parts[at + 1..].join(".") }
            }
            _ => Position { stack: String::new(), block: 0, kind: name.into() },
        }
    }

    /// The group it is shown in.
    pub fn group(&self) -> Group {
        if self.stack == SINGLE_STACK {
            return SINGLE;
        }
        GROUPS.into_iter().find(|group| group.kinds.contains(&self.kind.as_str())).unwrap_or(GROUPS[GROUPS.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_the_block() {
        let position = Position::of("single_transformer_blocks.12.attn.to_q");
        assert_eq!((position.block, position.kind.as_str()), (12, "attn.to_q"));
        assert_eq!(position.group(), SINGLE);
        let position = Position::of("transformer_blocks.3.ff.net.0.proj");
        assert_eq!(
            (position.block, position.kind.as_str(), position.group().title),
            (3, "ff.net.0.proj", "Feed-forward")
        );
        assert_eq!(Position::of("proj_out").kind, "proj_out");
        assert_eq!(Position::of("x.4").group().title, "Other");
    }

    #[test]
    fn every_linear_of_the_known_models_has_a_group() {
        for name in crate::plan::KNOWN_ARCHITECTURES {
            let architecture = crate::plan::known_architecture(name).unwrap();
            for linear in crate::model::taps::taps(&architecture).iter().flat_map(|tap| &tap.linears) {
                assert_ne!(Position::of(&linear.name).group().title, "Other", "{name}: {}", linear.name);
            }
        }
    }
}
