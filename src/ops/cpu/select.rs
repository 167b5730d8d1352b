//! Exact-count selection of the smallest scores of a block, ties by position.
//!
//! Scores are non-negative floats, whose bit patterns are ordered like their values. A histogram over the
//! leading bits finds the bin in which the count is reached; only that bin is sorted out element by element.

/// Leading bits of a score that name its bin: eight of exponent, four of mantissa (the sign is 0).
const BIN_SHIFT: u32 = 19;

/// Bins of a [`Histogram`].
const BINS: usize = 1 << (31 - BIN_SHIFT);

/// Counts of scores by bin.
pub(super) struct Histogram(Vec<u32>);

/// The bin of a score that is not negative.
#[inline(always)]
fn bin(score: f32) -> usize {
    (score.to_bits() >> BIN_SHIFT) as usize & (BINS - 1)
}

impl Histogram {
    pub(super) fn of(scores: &[f32]) -> Self {
        let mut counts = vec![0; BINS];
        scores.iter().for_each(|&score| counts[bin(score)] += 1);
        Histogram(counts)
    }

    pub(super) fn merge(mut self, other: Histogram) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
        self
    }
}

/// Which scores fall: all in bins before `boundary`, and those of `boundary` that [`Cut::falls`] accepts.
pub(super) struct Cut {
    boundary: usize,
    /// The last (score bits, position) of the boundary bin that falls; `None` if none of it does.
    last: Option<(u32, usize)>,
}

impl Cut {
    /// Finds the `count` smallest of the scores counted in `histogram`. `score_chunks` yields the scores again,
    /// in order of position.
    pub(super) fn smallest<'a>(
        histogram: &Histogram,
        score_chunks: impl Iterator<Item = &'a [f32]>,
        count: usize,
    ) -> Self {
        let mut before = 0;
        let mut boundary = 0;
        while boundary < BINS && before + histogram.0[boundary] as usize <= count {
            before += histogram.0[boundary] as usize;
            boundary += 1;
        }
        let rest = count - before;
        if rest == 0 || boundary == BINS {
            return Cut { boundary, last: None };
        }
        let mut candidates = Vec::with_capacity(histogram.0[boundary] as usize);
        let mut offset = 0;
        for chunk in score_chunks {
            let here = chunk.iter().enumerate().filter(|&(_, &score)| bin(score) == boundary);
            candidates.extend(here.map(|(i, score)| (score.to_bits(), offset + i)));
            offset += chunk.len();
        }
        let (_, &mut last, _) = candidates.select_nth_unstable(rest - 1);
        Cut { boundary, last: Some(last) }
    }

    /// Whether the score at `position` is among the smallest.
    #[inline(always)]
    pub(super) fn falls(&self, score: f32, position: usize) -> bool {
        let here = bin(score);
        here < self.boundary || (here == self.boundary && self.last.is_some_and(|l| (score.to_bits(), position) <= l))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions that fall by sorting everything.
    fn by_sorting(scores: &[f32], count: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
        let mut falls = vec![false; scores.len()];
        order[..count].iter().for_each(|&i| falls[i] = true);
        falls
    }

    #[test]
    fn selects_the_exact_count_with_ties_by_position() {
        for n in 0..=64usize {
            for kinds in [1, 3, 1000] {
                let scores: Vec<f32> = (0..n).map(|i| ((i * 7919 + 3) % kinds) as f32 * 1e-3).collect();
                for count in 0..=n {
                    let (head, tail) = scores.split_at(n / 3);
                    let histogram = Histogram::of(head).merge(Histogram::of(tail));
                    let cut = Cut::smallest(&histogram, [head, tail].into_iter(), count);
                    let found: Vec<bool> = scores.iter().enumerate().map(|(i, &s)| cut.falls(s, i)).collect();
                    assert_eq!(found, by_sorting(&scores, count), "n {n} kinds {kinds} count {count}");
                }
            }
        }
    }

    #[test]
    fn extreme_scores_keep_their_order() {
        let scores = [f32::INFINITY, f32::MAX, 0.0, f32::MIN_POSITIVE, 1e-45, 1.0, 1.0000001];
        let histogram = Histogram::of(&scores);
        for count in 0..=scores.len() {
            let cut = Cut::smallest(&histogram, [&scores[..]].into_iter(), count);
            let found: Vec<bool> = scores.iter().enumerate().map(|(i, &s)| cut.falls(s, i)).collect();
            assert_eq!(found, by_sorting(&scores, count), "count {count}");
        }
    }
}
