//! Axes with ticks at round numbers, linear or logarithmic.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::super::numbers::superscript;

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a little above `highest`.
    pub fn from_zero(highest: f64) -> Self {
        let high = if highest.is_finite() && highest > 0.0 { highest } else { 1.0 };
        let step = round_step(high / 4.0);
        let ticks = (0..=(high / step).ceil() as usize).map(|index| step * index as f64);
        let ticks: Vec<(f64, String)> = ticks.map(|tick| (tick, plain(tick))).collect();
        let high = ticks.last().map_or(high, |(tick, _)| *tick);
        Axis { low: 0.0, high, logarithmic: false, ticks }
    }

    /// Whole numbers from `first` to `last`, ticks at about `count` of them, half a step of room on both sides;
    /// `label` names them.
    pub fn places(first: usize, last: usize, count: usize, label: impl Fn(usize) -> String) -> Self {
        let every = (last + 1 - first).div_ceil(count.max(1)).max(1);
        let every = if every > 2 { every.next_multiple_of(5) } else { every };
        // Steps of five begin at a multiple of five, but for the first place.
        let round = |place: &usize| *place == first && first == 0 || place.is_multiple_of(every);
        let mut ticks: Vec<(f64, String)> = (first..=last)
            .filter(|place| every == 1 || round(place))
            .map(|place| (place as f64, label(place)))
            .collect();
        if every > 1 && first == 1 {
            ticks.insert(0, (1.0, label(1)));
        }
        Axis { low: first as f64 - 0.5, high: last as f64 + 0.5, logarithmic: false, ticks }
    }

    /// Logarithmic over positive values; 1, 2 and 5 have ticks where there are few powers of ten.
    pub fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = positive.fold((f64::MAX, 0.0), |(low, high): (f64, f64), x| (low.min(x), high.max(x)));
        let (low, high) = if high > 0.0 { (low / 1.25, high * 1.25) } else { (0.1, 1.0) };
        let decades = (high / low).log10();
        let mantissas: &[f64] = match decades {
            d if d < 1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
            d if d < 2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let every = ((decades / 6.0).ceil() as i32).max(1);
        let powers = (low.log10().floor() as i32..=high.log10().ceil() as i32).filter(|power| power % every == 0);
        let ticks = powers.flat_map(|power| mantissas.iter().map(move |&mantissa| (mantissa, power)));
        let value = |(mantissa, power): (f64, i32)| (mantissa * 10f64.powi(power), scientific(mantissa, power));
        let ticks = ticks.map(value).filter(|(tick, _)| (low..=high).contains(tick)).collect();
        Axis { low, high, logarithmic: true, ticks }
    }

    /// The label of the tick at `value`.
    pub fn label(&self, value: &f64) -> String {
        self.ticks.iter().find(|(tick, _)| tick == value).map_or(String::new(), |(_, label)| label.clone())
    }

    /// The smallest value that is shown.
    pub fn low(&self) -> f64 {
        self.low
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let place = |x: f64| if self.logarithmic { x.max(f64::MIN_POSITIVE).log10() } else { x };
        let share = (place(*value) - place(self.low)) / (place(self.high) - place(self.low));
        limit.0 + (f64::from(limit.1 - limit.0) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(tick, _)| *tick).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|round| *round >= step * 0.999).unwrap_or(step)
}

/// A tick without needless zeros.
fn plain(tick: f64) -> String {
    let text = format!("{tick:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn scientific(mantissa: f64, power: i32) -> String {
    match power {
        -2..=3 => plain(mantissa * 10f64.powi(power)),
        _ if mantissa == 1.0 => format!("10{}", superscript(power)),
        _ => format!("{}·10{}", plain(mantissa), superscript(power)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::from_zero(2.8)), ["0", "1", "2", "3"]);
        assert_eq!(labels(&Axis::from_zero(0.9)), ["0", "0.5", "1"]);
        assert_eq!(labels(&Axis::places(1, 20, 8, |i| i.to_string())), ["1", "5", "10", "15", "20"]);
        assert_eq!(labels(&Axis::places(0, 4, 8, |i| i.to_string())), ["0", "1", "2", "3", "4"]);
        assert_eq!(labels(&Axis::logarithmic([2e-5, 3e-2].into_iter())), ["10⁻⁴", "10⁻³", "0.01"]);
        assert_eq!(
            labels(&Axis::logarithmic([1.1e-3, 4e-3].into_iter())),
            ["10⁻³", "1.5·10⁻³", "2·10⁻³", "3·10⁻³", "4·10⁻³", "5·10⁻³"]
        );
        assert!(!labels(&Axis::logarithmic(std::iter::empty())).is_empty());
    }
}
