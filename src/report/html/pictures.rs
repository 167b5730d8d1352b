//! Pictures to embed, from the folder of a comparison.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::compare::Comparison;
use crate::error::Result;
use crate::pictures::Picture;

/// Pixels of the longer side of an embedded picture, at most.
const LARGEST: usize = 384;

/// Pictures that a page shows.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub shots: Vec<Shot>,
    /// Pairs that the comparison has.
    pub of: usize,
}

/// The pictures of one prompt.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Index of the item in the comparison.
    pub item: usize,
    pub dense: Embedded,
    pub pruned: Embedded,
}

/// A picture as a data URL.
#[derive(Debug, Clone)]
pub struct Embedded {
    pub url: String,
    pub width: usize,
    pub height: usize,
}

impl Shown {
    /// The first `limit` pairs of a comparison, reduced where they are large.
    ///
    /// # Errors
    /// Those of [`Picture::read`].
    pub fn read(folder: &Path, comparison: &Comparison, limit: usize) -> Result<Self> {
        let mut shown = Shown::default();
        for (item, entry) in comparison.items.iter().enumerate() {
            let (Some(dense), Some(pruned)) = (&entry.dense, &entry.pruned) else { continue };
            shown.of += 1;
            if shown.shots.len() < limit {
                let embed = |name: &str| Embedded::new(&Picture::read(folder.join(name))?);
                shown.shots.push(Shot { item, dense: embed(dense)?, pruned: embed(pruned)? });
            }
        }
        Ok(shown)
    }
}

impl Embedded {
    /// Reduced where it is large.
    ///
    /// # Errors
    /// Those of [`Picture::png`].
    pub fn new(picture: &Picture) -> Result<Self> {
        let longer = picture.width.max(picture.height);
        let side = |side: usize| (side * LARGEST).div_ceil(longer.max(1)).max(1);
        let reduced = (longer > LARGEST).then(|| picture.reduced(side(picture.width), side(picture.height)));
        let picture = reduced.as_ref().unwrap_or(picture);
        let url = format!("data:image/png;base64,{}", STANDARD.encode(picture.png()?));
        Ok(Embedded { url, width: picture.width, height: picture.height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_shrink_and_small_ones_stay() {
        let size = |width, height| {
            let embedded = Embedded::new(&Picture::plain(width, height, [1, 2, 3])).unwrap();
            assert!(embedded.url.starts_with("data:image/png;base64,iVBOR"));
            (embedded.width, embedded.height)
        };
        assert_eq!(size(8, 8), (8, 8));
        assert_eq!(size(1024, 512), (384, 192));
        assert_eq!(size(100, 769), (50, 384));
    }
}
