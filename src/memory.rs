//! Amounts of memory as users write them; how much there is and how much was used, as far as the system tells (Linux).

use std::fmt;
use std::fs;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, written as `80GiB`, `16GB`, `500MiB` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim() {
            "" | "B" => 1.0,
            "MB" => 1e6,
            "GB" => 1e9,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            other => return Err(format!("unknown unit `{other}`; expected B, MB, GB, MiB or GiB")),
        };
        number.parse::<f64>().map(|number| Size((number * unit) as u64)).map_err(|e| format!("`{number}`: {e}"))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Number(u64),
        }
        match Either::deserialize(deserializer)? {
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Either::Number(bytes) => Ok(Size(bytes)),
        }
    }
}

/// Bytes that can still be allocated without swapping: the smaller of what the machine and the process's
/// control group leave. `None` where the system does not tell.
pub fn available() -> Option<u64> {
    let machine = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let group = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse::<u64>().ok();
    let limit = match (group("memory.max"), group("memory.current")) {
        (Some(limit), Some(used)) => limit.saturating_sub(used),
        _ => u64::MAX,
    };
    Some(machine.min(limit))
}

/// Largest resident set of this process so far, in bytes. `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        let cases = [("80GiB", 80 << 30), ("1.5 MB", 1_500_000), ("12B", 12), ("500MiB", 500 << 20), ("7", 7)];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "GiB", "1.2.3", "1TiB", "-5"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_the_kernel_s_lines() {
        assert_eq!(kilobytes("MemTotal: 5 kB\nMemAvailable:   1234 kB\n", "MemAvailable:"), Some(1234 * 1024));
        assert_eq!(kilobytes("MemTotal: 5 kB\n", "MemAvailable:"), None);
    }
}
