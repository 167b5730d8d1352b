//! The OBS column sweep in float64, row by row and column by column.
//!
//! With `D = W - Q` over the finished columns and `P = D R`, the weight of column j at its turn is
//! `w_j = W_j + P_j / R_jj`, and the weights of a run of columns B before any of them is finished are
//! `W_B + x` with `x R_BB = P_B`. No inverse is formed, so nothing here is shared with the kernels' way.
//!
//! The sweep is a chain of choices, each of which changes everything behind it: two correct sweeps part at the first
//! near tie. So the reference can follow the choices of another sweep, and then says how well they are founded.

use half::{bf16, f16};

use crate::sweep::{Rounding, SweepSegment};

/// How weights are chosen to fall.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// `counts[segment][block]`.
    Unstructured {
        counts: &'a [Vec<usize>],
    },
    NM {
        keep: usize,
        of: usize,
    },
    /// As followed.
    Fixed,
}

/// A finished sweep whose choices are followed.
#[derive(Debug, Clone, Copy)]
pub struct Followed<'a> {
    /// u8 `[rows, d]`, 1 = kept.
    pub mask: &'a [u8],
    /// f32 `[rows, d]`.
    pub weight: &'a [f32],
}

/// What to sweep.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// `R`: `[d, d]` row-major, upper triangular.
    pub factor: &'a [f64],
    /// `W`: `[rows, d]` row-major.
    pub weight: &'a [f32],
    pub dead: &'a [usize],
    pub segments: &'a [SweepSegment],
    pub choice: Choice<'a>,
    pub block_size: usize,
}

/// What the sweep found.
#[derive(Debug)]
pub struct Swept {
    /// `[rows, d]`; where a rounded weight was followed, that weight.
    pub weight: Vec<f64>,
    /// 1 = kept.
    pub mask: Vec<u8>,
    /// Per segment.
    pub loss: Vec<f64>,
    /// By how much a score that fell exceeds one that stayed, at most, over `largest |W| * largest pivot of the
    /// block`; infinite if a count is not met.
    pub choice_excess: Excess,
    /// By how much a followed rounded weight is further away than the dtype's nearest number, at most, over
    /// `largest |W|`; infinite if it is no number of the dtype.
    pub rounding_excess: Excess,
}

/// The largest of several amounts, and where it was found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Excess {
    pub amount: f64,
    /// Row-major position of the weight.
    pub place: usize,
}

impl Excess {
    fn raise(&mut self, amount: f64, place: usize) {
        if amount > self.amount || amount.is_nan() {
            *self = Excess { amount, place };
        }
    }
}

struct State<'a> {
    columns: usize,
    factor: &'a [f64],
    /// W, dead columns 0.
    dense: Vec<f64>,
    /// P.
    projected: Vec<f64>,
    swept: Swept,
    /// Largest |W|.
    scale: f64,
    followed: Option<Followed<'a>>,
}

/// Sweeps `problem`; with `followed` the choices are taken from there and judged.
pub fn sweep(problem: &Problem, followed: Option<Followed>) -> Swept {
    let rows: usize = problem.segments.iter().map(|segment| segment.rows).sum();
    let columns = problem.weight.len() / rows;
    let mut dense: Vec<f64> = problem.weight.iter().map(|&w| f64::from(w)).collect();
    for row in dense.chunks_exact_mut(columns) {
        problem.dead.iter().for_each(|&column| row[column] = 0.0);
    }
    let scale = dense.iter().fold(f64::MIN_POSITIVE, |scale, w| scale.max(w.abs()));
    let swept = Swept {
        weight: vec![0.0; rows * columns],
        mask: followed.map_or(vec![1; rows * columns], |followed| followed.mask.to_vec()),
        loss: vec![0.0; problem.segments.len()],
        choice_excess: Excess::default(),
        rounding_excess: Excess::default(),
    };
    let projected = vec![0.0; rows * columns];
    let mut state = State { columns, factor: problem.factor, dense, projected, swept, scale, followed };

    for (block, start) in (0..columns).step_by(problem.block_size).enumerate() {
        let end = (start + problem.block_size).min(columns);
        let mut begin = 0;
        for (index, segment) in problem.segments.iter().enumerate() {
            let rows = begin..begin + segment.rows;
            if let Choice::Unstructured { counts } = problem.choice {
                let scores = rows.clone().flat_map(|row| state.scores(row, start, end)).collect();
                state.choose(scores, counts[index][block], start, end);
            }
            for row in rows {
                for column in start..end {
                    if let Choice::NM { keep, of } = problem.choice
                        && column % of == 0
                    {
                        let scores = state.scores(row, column, column + of);
                        state.choose(scores, of - keep, start, end);
                    }
                    state.finish(row, column, index, segment.rounding);
                }
            }
            begin += segment.rows;
        }
    }
    state.swept
}

impl State<'_> {
    fn pivot(&self, column: usize) -> f64 {
        self.factor[column * self.columns + column]
    }

    /// Score and position of columns `start..end` of a row, none of them finished and all before them compensated.
    fn scores(&self, row: usize, start: usize, end: usize) -> Vec<(f64, usize)> {
        let mut x = vec![0.0; end - start];
        for j in start..end {
            let above: f64 = (start..j).map(|i| x[i - start] * self.factor[i * self.columns + j]).sum();
            x[j - start] = (self.projected[row * self.columns + j] - above) / self.pivot(j);
        }
        let place = |column: usize| row * self.columns + column;
        (start..end).map(|j| (((self.dense[place(j)] + x[j - start]) * self.pivot(j)).abs(), place(j))).collect()
    }

    /// Lets the `count` smallest scores fall, ties by position, or judges the followed mask. The scores are of
    /// columns `start..end`.
    fn choose(&mut self, mut scores: Vec<(f64, usize)>, count: usize, start: usize, end: usize) {
        if self.followed.is_none() {
            scores.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            scores[..count].iter().for_each(|&(_, place)| self.swept.mask[place] = 0);
            return;
        }
        let mask = &self.swept.mask;
        let of = |kept: bool| scores.iter().filter(move |&&(_, place)| (mask[place] != 0) == kept);
        let fallen = of(false).count();
        let by_score = |a: &&(f64, usize), b: &&(f64, usize)| a.0.total_cmp(&b.0);
        let highest_fallen = of(false).max_by(by_score);
        let lowest_kept = of(true).min_by(by_score);
        let largest_pivot = (start..end).map(|column| self.pivot(column)).fold(0.0, f64::max);
        if fallen != count {
            self.swept.choice_excess.raise(f64::INFINITY, scores[0].1);
        } else if let (Some(fallen), Some(kept)) = (highest_fallen, lowest_kept) {
            self.swept.choice_excess.raise((fallen.0 - kept.0) / (self.scale * largest_pivot), fallen.1);
        }
    }

    /// Finishes one weight and passes its change on.
    fn finish(&mut self, row: usize, column: usize, segment: usize, rounding: Rounding) {
        let place = row * self.columns + column;
        let pivot = self.pivot(column);
        let weight = self.dense[place] + self.projected[place] / pivot;
        let finished = match (self.swept.mask[place], self.followed) {
            (0, _) => 0.0,
            (_, Some(followed)) if rounding != Rounding::None => {
                let theirs = f64::from(followed.weight[place]);
                let excess = (theirs - weight).abs() - (round(weight, rounding) - weight).abs();
                let excess = if round(theirs, rounding) == theirs { excess / self.scale } else { f64::INFINITY };
                self.swept.rounding_excess.raise(excess, place);
                theirs
            }
            _ => round(weight, rounding),
        };
        let change = self.dense[place] - finished;
        let behind = row * self.columns + column + 1..(row + 1) * self.columns;
        let factor = &self.factor[column * self.columns + column + 1..(column + 1) * self.columns];
        for (projected, factor) in self.projected[behind].iter_mut().zip(factor) {
            *projected += change * factor;
        }
        self.swept.weight[place] = finished;
        self.swept.loss[segment] += ((weight - finished) * pivot).powi(2);
    }
}

/// The dtype's number nearest to `value`.
fn round(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::None => value,
        Rounding::F16 => f16::from_f64(value).to_f64(),
        Rounding::BF16 => bf16::from_f64(value).to_f64(),
    }
}
