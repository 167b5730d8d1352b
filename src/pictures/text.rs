//! Short lines of text in a picture.
//!
//! The font is Noto Sans Mono (SIL Open Font License), as grey bitmaps from a crate without dependencies: Latin letters
//! with their accents at one size, no font parser, and the same bytes everywhere.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::Picture;

const SIZE: RasterHeight = RasterHeight::Size16;
/// Pixels from one line to the next.
pub(super) const LINE: usize = SIZE.val();
/// Pixels from one letter to the next; all letters are equally wide.
pub(super) const LETTER: usize = get_raster_width(FontWeight::Regular, SIZE);

/// Pixels that a text takes in one line.
pub(super) fn width(text: &str) -> usize {
    text.chars().count() * LETTER
}

/// The text in one line of at most `pixels`: white space becomes single spaces, and what does not fit `…`.
pub(super) fn shortened(text: &str, pixels: usize) -> String {
    let text = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let text = text.collect::<Vec<_>>().join(" ");
    let room = pixels / LETTER;
    if text.chars().count() <= room {
        return text;
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    if room == 0 { String::new() } else { kept.trim_end().to_string() + "…" }
}

impl Picture {
    /// Writes one line of text with its top left corner at (`left`, `top`). Letters that the font lacks become boxes;
    /// what lies outside the picture is cut off.
    pub(super) fn write(&mut self, text: &str, left: usize, top: usize, colour: [u8; 3]) {
        for (index, letter) in text.chars().enumerate() {
            let left = left + index * LETTER;
            for y in 0..LINE {
                for x in 0..LETTER {
                    let (column, row) = (left + x, top + y);
                    let share = coverage(letter, x, y);
                    if share > 0 && column < self.width && row < self.height {
                        self.set(column, row, mixed(self.pixel(column, row), colour, share));
                    }
                }
            }
        }
    }
}

/// How much of a pixel of a letter is ink, 0 to 255.
fn coverage(letter: char, x: usize, y: usize) -> u8 {
    /// Distance of a box's outline from the borders of its letter: at the sides, above, below.
    const INSET: [usize; 3] = [1, 3, 4];
    if letter == '…' {
        // Three dots on the baseline.
        return if y + 5 == LINE && x % 2 == 1 { 255 } else { 0 };
    }
    if let Some(raster) = get_raster(letter, FontWeight::Regular, SIZE) {
        return raster.pixel(x, y).unwrap_or(0);
    }
    let [side, above, below] = INSET;
    let (right, bottom) = (LETTER - 1 - side, LINE - 1 - below);
    let inside = (side..=right).contains(&x) && (above..=bottom).contains(&y);
    let outline = x == side || x == right || y == above || y == bottom;
    if inside && outline { 255 } else { 0 }
}

/// `share` / 255 of `ink` on `paper`.
fn mixed(paper: [u8; 3], ink: [u8; 3], share: u8) -> [u8; 3] {
    let share = u32::from(share);
    std::array::from_fn(|i| ((u32::from(paper[i]) * (255 - share) + u32::from(ink[i]) * share + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ink of one letter, row by row.
    fn ink(letter: char) -> Vec<u8> {
        (0..LINE * LETTER).map(|at| coverage(letter, at % LETTER, at / LETTER)).collect()
    }

    #[test]
    fn every_character_draws_something_without_panicking() {
        for letter in (0u32..0x3000).chain(0x4e00..0x4e10).chain([0x1f600, 0x10ffff]).filter_map(char::from_u32) {
            let mut picture = Picture::plain(LETTER, LINE, [0; 3]);
            picture.write(&letter.to_string(), 0, 0, [255; 3]);
            let blank = picture.rgb.iter().all(|&byte| byte == 0);
            assert_eq!(blank, letter == ' ', "{letter:?}");
        }
        let letters = ['a', 'b', 'é', 'ß', '7', '…'];
        for (index, &letter) in letters.iter().enumerate() {
            assert!(letters[..index].iter().all(|&other| ink(other) != ink(letter)), "{letter}");
            assert_ne!(ink(letter), ink('猫'), "{letter} is a box");
        }
        assert_eq!(ink('猫'), ink('🙂'));
    }

    #[test]
    fn text_is_shortened_to_its_room() {
        assert_eq!(shortened("a cat\tholding\n a  sign", 100 * LETTER), "a cat holding a sign");
        assert_eq!(shortened("a cat", 5 * LETTER), "a cat");
        assert_eq!(shortened("a cat holding", 6 * LETTER + LETTER / 2), "a cat…");
        assert_eq!(shortened("a cat holding", 7 * LETTER), "a cat…");
        assert_eq!(shortened("猫が好き", 3 * LETTER), "猫が…");
        assert_eq!((shortened("abc", 0), shortened("abc", LETTER)), (String::new(), "…".into()));
        assert_eq!(width("a cat…"), 6 * LETTER);
    }

    #[test]
    fn text_beyond_the_border_is_cut_off() {
        let mut picture = Picture::plain(10, 5, [9; 3]);
        picture.write("WWWW", 3, 2, [200; 3]);
        picture.write("W", 50, 50, [200; 3]);
        assert_eq!((picture.pixel(0, 0), picture.rgb.len()), ([9; 3], 150));
    }
}
