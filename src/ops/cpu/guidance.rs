//! Classifier-free guidance: u + scale * (c - u).

/// `branches`: u, then c, of equal length.
pub fn guidance(branches: &[f32], scale: f32) -> Vec<f32> {
    let (negative, positive) = branches.split_at(branches.len() / 2);
    negative.iter().zip(positive).map(|(u, c)| u + scale * (c - u)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_its_formula() {
        assert_eq!(guidance(&[1.0, -2.0, 3.0, 2.0], 4.0), [1.0 + 4.0 * 2.0, -2.0 + 4.0 * 4.0]);
        assert!(guidance(&[], 4.0).is_empty());
    }
}
