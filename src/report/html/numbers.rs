//! Numbers as a page prints them.

/// `2.97 × 10⁻³`, or `0.123` near one; `-` for what is no number.
pub fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "∞".into() } else { "-∞".into() };
    }
    if value.is_nan() {
        return "-".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let exponent = value.abs().log10().floor() as i32;
    if (-2..4).contains(&exponent) {
        let decimals = (2 - exponent).clamp(0, 4) as usize;
        return format!("{value:.decimals$}");
    }
    let text = format!("{value:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{mantissa}\u{a0}×\u{a0}10{}", superscript(exponent.parse().unwrap_or(0)))
}

/// [`number`], or `-` without one.
pub fn optional(value: Option<f64>) -> String {
    value.map_or("-".into(), number)
}

/// `50.00 %`, which does not break.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.2}\u{a0}%", 100.0 * share) } else { "-".into() }
}

/// `1,392,384`.
pub fn integer(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `⁻³`.
pub fn superscript(exponent: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digit = |c: char| c.to_digit(10).map_or('⁻', |digit| DIGITS[digit as usize]);
    exponent.to_string().chars().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(0.0029709), "2.97\u{a0}×\u{a0}10⁻³");
        assert_eq!(number(0.0511), "0.0511");
        assert_eq!(number(1.0), "1.00");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(1234567.0), "1.23\u{a0}×\u{a0}10⁶");
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(number(f64::INFINITY), "∞");
        assert_eq!(integer(1392384), "1,392,384");
        assert_eq!(integer(12), "12");
        assert_eq!(superscript(-10), "⁻¹⁰");
    }
}
