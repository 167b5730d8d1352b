//! The distribution of one number over items, and how infinity is written.

use serde::{Deserialize, Serialize};

/// Distribution of one number over items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub items: usize,
    #[serde(with = "infinite")]
    pub min: f64,
    #[serde(with = "infinite")]
    pub median: f64,
    #[serde(with = "infinite")]
    pub mean: f64,
    #[serde(with = "infinite")]
    pub max: f64,
    /// Standard deviation over the items (divided by their number): 0 if all are equal, even if infinite.
    #[serde(with = "infinite")]
    pub std: f64,
}

impl Spread {
    /// Of at least one value; the median of an even number is the mean of the middle two.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let items = values.len();
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (min, max) = (at(0), at(items.saturating_sub(1)));
        let mean = values.iter().sum::<f64>() / items as f64;
        let std = match min == max {
            true => 0.0,
            false if mean.is_infinite() => f64::INFINITY,
            false => (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / items as f64).sqrt(),
        };
        Spread { items, min, median: (at(items.saturating_sub(1) / 2) + at(items / 2)) / 2.0, mean, max, std }
    }

    /// Of the values that are there; `None` if none is.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().flatten().collect();
        (!values.is_empty()).then(|| Spread::new(values))
    }
}

/// Numbers that may be infinite, as the PSNR of equal pictures is. JSON has no infinity, and `null` means that a number
/// was not computed, so infinity is the text `"Infinity"`, which `float` of Python and `Number` of JavaScript read back.
pub mod infinite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const POSITIVE: &str = "Infinity";
    const NEGATIVE: &str = "-Infinity";

    /// A number as it stands in JSON.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Finite(f64),
        Text(String),
    }

    impl Number {
        fn of(value: f64) -> Self {
            match value {
                f64::INFINITY => Number::Text(POSITIVE.into()),
                f64::NEG_INFINITY => Number::Text(NEGATIVE.into()),
                finite => Number::Finite(finite),
            }
        }

        fn value<E: serde::de::Error>(self) -> Result<f64, E> {
            match self {
                Number::Finite(value) => Ok(value),
                Number::Text(text) if text == POSITIVE => Ok(f64::INFINITY),
                Number::Text(text) if text == NEGATIVE => Ok(f64::NEG_INFINITY),
                Number::Text(text) => Err(E::custom(format!("expected a number or `{POSITIVE}`, found `{text}`"))),
            }
        }
    }

    /// As `#[serde(with)]` calls it.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Number::of(*value).serialize(serializer)
    }

    /// As `#[serde(with)]` calls it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Number::deserialize(deserializer)?.value()
    }

    /// The same for a number that may be absent.
    pub mod optional {
        use super::*;

        /// As `#[serde(with)]` calls it.
        pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
            value.map(Number::of).serialize(serializer)
        }

        /// As `#[serde(with)]` calls it.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
            Option::<Number>::deserialize(deserializer)?.map(Number::value).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_follows_its_formulas() {
        let spread = Spread { items: 2, min: 0.5, median: 0.75, mean: 0.75, max: 1.0, std: 0.25 };
        assert_eq!(Spread::new(vec![1.0, 0.5]), spread);
        assert_eq!(Spread::new(vec![3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of([None, None]), None);
        assert_eq!(Spread::of([None, Some(2.0)]).unwrap().mean, 2.0);
    }

    #[test]
    fn infinity_survives_json() {
        for values in [vec![f64::INFINITY; 2], vec![1.0, f64::INFINITY], vec![1.0, 3.0]] {
            let spread = Spread::new(values);
            let text = serde_json::to_string(&spread).unwrap();
            assert!(!text.contains("null"), "{text}");
            assert_eq!(serde_json::from_str::<Spread>(&text).unwrap(), spread, "{text}");
        }
        assert_eq!(Spread::new(vec![f64::INFINITY; 2]).std, 0.0);
        assert_eq!(Spread::new(vec![1.0, f64::INFINITY]).std, f64::INFINITY);
        assert!(
            serde_json::from_str::<Spread>(r#"{"items":1,"min":"x","median":1,"mean":1,"max":1,"std":0}"#).is_err()
        );
    }
}
