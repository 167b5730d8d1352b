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

/// The cut between the scores that fall and those that stay.
pub(super) struct Cut {
    /// Scores with smaller bits fall.
    limit: u32,
    /// Scores with exactly these bits fall up to this position.
    last: Option<usize>,
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
            return Cut { limit: (boundary as u32) << BIN_SHIFT, last: None };
        }
        let mut candidates = Vec::with_capacity(histogram.0[boundary] as usize);
        let mut offset = 0;
        for chunk in score_chunks {
            let here = chunk.iter().enumerate().filter(|&(_, &score)| bin(score) == boundary);
            candidates.extend(here.map(|(i, score)| (score.to_bits(), offset + i)));
            offset += chunk.len();
        }
        let (_, &mut (limit, last), _) = candidates.select_nth_unstable(rest - 1);
        Cut { limit, last: Some(last) }
    }

    /// Sets `keep` for a run of scores that begins at `position`.
    #[inline(always)]
    pub(super) fn mark(&self, scores: &[f32], position: usize, keep: &mut [bool]) {
        let mut tied = false;
        for (keep, score) in keep.iter_mut().zip(scores) {
            *keep = score.to_bits() >= self.limit;
            tied |= score.to_bits() == self.limit;
        }
        let Some(last) = self.last.filter(|&last| tied && position <= last) else { return };
        for (keep, score) in keep.iter_mut().zip(scores).take(last - position + 1) {
            *keep &= score.to_bits() != self.limit;
        }
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

    /// Positions that fall by the cut, marked in two runs.
    fn falls(cut: &Cut, head: &[f32], tail: &[f32]) -> Vec<bool> {
        let mut keep = vec![true; head.len() + tail.len()];
        let (keep_head, keep_tail) = keep.split_at_mut(head.len());
        cut.mark(head, 0, keep_head);
        cut.mark(tail, head.len(), keep_tail);
        keep.into_iter().map(|keep| !keep).collect()
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
                    let found = falls(&cut, head, tail);
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
            let found = falls(&cut, &scores, &[]);
            assert_eq!(found, by_sorting(&scores, count), "count {count}");
        }
    }
}
