//! Arrays one behind the other along an axis.

/// Part i: [rows, lengths[i]], row-major, where `rows` counts the places before the axis and `lengths[i]` the values
/// from the axis on; the result is [rows, sum of lengths].
pub fn cat<T: Copy>(parts: &[&[T]], rows: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for row in 0..rows {
        for part in parts {
            let length = part.len() / rows;
            out.extend_from_slice(&part[row * length..(row + 1) * length]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_alternate_row_by_row() {
        let parts: [&[u8]; 3] = [&[1, 2], &[], &[3, 4, 5, 6]];
        assert_eq!(cat(&parts, 2), [1, 3, 4, 2, 5, 6]);
        assert_eq!(cat(&parts, 1), [1, 2, 3, 4, 5, 6]);
        assert!(cat(&parts[..0], 0).is_empty());
    }
}
