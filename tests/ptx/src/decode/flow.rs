//! The flow graph of a kernel and where diverged warps become whole again.

use super::builder::Draft;
use crate::instruction::Op;

/// A run of instructions that is entered at its start only and left at its end only.
#[derive(Debug)]
pub(super) struct Block {
    pub start: usize,
    pub end: usize,
    /// Blocks that may run next.
    pub successors: Vec<usize>,
    pub predecessors: Vec<usize>,
    /// Whether lanes may leave the kernel at its end. A trap does not count: nothing comes after it.
    exits: bool,
}

#[derive(Debug)]
pub(super) struct Graph {
    pub blocks: Vec<Block>,
    block_of: Vec<usize>,
}

impl Graph {
    /// The graph of resolved code.
    pub fn new(code: &[Draft]) -> Graph {
        let mut leads = vec![false; code.len()];
        leads[0] = true;
        for (at, draft) in code.iter().enumerate() {
            for target in targets(&draft.op) {
                leads[target] = true;
            }
            if draft.op.leaves() && at + 1 < code.len() {
                leads[at + 1] = true;
            }
        }
        let starts: Vec<usize> = (0..code.len()).filter(|&at| leads[at]).collect();
        let mut block_of = vec![0; code.len()];
        let mut blocks = Vec::new();
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(code.len());
            block_of[start..end].fill(index);
            blocks.push(Block { start, end, successors: Vec::new(), predecessors: Vec::new(), exits: false });
        }
        for index in 0..blocks.len() {
            let last = &code[blocks[index].end - 1];
            let mut successors: Vec<usize> = targets(&last.op).map(|target| block_of[target]).collect();
            if (!last.op.leaves() || last.guard.is_some()) && index + 1 < blocks.len() {
                successors.push(index + 1);
            }
            successors.sort_unstable();
            successors.dedup();
            for &successor in &successors {
                blocks[successor].predecessors.push(index);
            }
            blocks[index].exits = matches!(last.op, Op::Exit);
            blocks[index].successors = successors;
        }
        Graph { blocks, block_of }
    }

    /// For each branch, the start of the block that immediately post-dominates it. Paths that end in a trap do not
    /// count. `None` where only the end of the kernel does.
    pub fn reconvergence(&self, code: &[Draft]) -> Vec<Option<u32>> {
        let immediate = self.post_dominators();
        let place = |at: usize| {
            let block = immediate[self.block_of[at]]?;
            self.blocks.get(block).map(|block| block.start as u32)
        };
        let branches = |op: &Op| matches!(op, Op::Branch { .. } | Op::BranchIndexed { .. });
        code.iter().enumerate().map(|(at, draft)| if branches(&draft.op) { place(at) } else { None }).collect()
    }

    /// Immediate post-dominators by Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", on the reversed
    /// graph. The virtual end has number `blocks.len()`.
    fn post_dominators(&self) -> Vec<Option<usize>> {
        let end = self.blocks.len();
        let order = self.reverse_postorder(end);
        let mut position = vec![usize::MAX; end + 1];
        for (place, &block) in order.iter().enumerate() {
            position[block] = place;
        }
        let mut immediate: Vec<Option<usize>> = vec![None; end + 1];
        immediate[end] = Some(end);
        let mut changed = true;
        while changed {
            changed = false;
            for &block in &order[1..] {
                let exit = self.blocks[block].exits.then_some(end);
                let mut meet = None;
                for next in self.blocks[block].successors.iter().copied().chain(exit) {
                    if immediate[next].is_none() {
                        continue;
                    }
                    meet = Some(meet.map_or(next, |other| intersect(&immediate, &position, other, next)));
                }
                if immediate[block] != meet {
                    immediate[block] = meet;
                    changed = true;
                }
            }
        }
        immediate
    }

    /// Blocks that reach the end, the end first.
    fn reverse_postorder(&self, end: usize) -> Vec<usize> {
        let exits: Vec<usize> = (0..end).filter(|&block| self.blocks[block].exits).collect();
        let before = |block: usize| if block == end { &exits } else { &self.blocks[block].predecessors };
        let mut seen = vec![false; end + 1];
        let mut order = Vec::new();
        let mut stack = vec![(end, 0)];
        seen[end] = true;
        while let Some((block, next)) = stack.pop() {
            match before(block).get(next) {
                None => order.push(block),
                Some(&predecessor) => {
                    stack.push((block, next + 1));
                    if !seen[predecessor] {
                        seen[predecessor] = true;
                        stack.push((predecessor, 0));
                    }
                }
            }
        }
        order.reverse();
        order
    }
}

fn intersect(immediate: &[Option<usize>], position: &[usize], mut a: usize, mut b: usize) -> usize {
    let up = |block: usize| immediate[block].expect("blocks that were met have a post-dominator");
    while a != b {
        while position[a] > position[b] {
            a = up(a);
        }
        while position[b] > position[a] {
            b = up(b);
        }
    }
    a
}

fn targets(op: &Op) -> impl Iterator<Item = usize> {
    let slice = match op {
        Op::Branch { target, .. } => std::slice::from_ref(target),
        Op::BranchIndexed { targets, .. } => targets,
        _ => &[],
    };
    slice.iter().map(|&target| target as usize)
}
