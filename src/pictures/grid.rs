//! Many pictures as one: items side by side, the models' pictures of an item below each other, a caption under them.
//!
//! ```text
//! dense   [  ] [  ] [  ]
//! pruned  [  ] [  ] [  ]
//!         a cat a dog …
//!         0.01  0.02
//! dense   [  ] …
//! ```

use super::Picture;
use super::text::{self, LINE};
use crate::error::{Error, Result};

/// Larger pictures are reduced to this many pixels on their longer side.
const LARGEST: usize = 256;
/// Smaller pictures grow by a whole factor to at most this many pixels: 16 letters of a caption.
const SMALL: usize = 128;
/// Items stand side by side up to this many pixels, but not more than COLUMNS of them.
const WIDTH: usize = 1600;
const COLUMNS: usize = 10;
/// Pixels between pictures, and around the whole.
const GAP: usize = 4;
/// Pixels of a row label.
const LABEL: usize = 20 * text::LETTER;
const BACKGROUND: [u8; 3] = [32, 32, 48];
const INK: [u8; 3] = [224, 224, 224];

/// One prompt: its picture from each model.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// One per row of the grid.
    pub pictures: Vec<&'a Picture>,
    /// Lines below the pictures, each shortened to the room that there is.
    pub caption: Vec<String>,
}

/// Items and what their rows are called.
#[derive(Debug, Clone)]
pub struct Grid<'a> {
    /// One label per row of pictures (such as "dense", "pruned"); all empty: no room is left for labels.
    pub rows: Vec<String>,
    pub items: Vec<Item<'a>>,
}

impl Grid<'_> {
    /// The grid as a PNG file.
    ///
    /// # Errors
    /// Those of [`Grid::draw`].
    pub fn png(&self) -> Result<Vec<u8>> {
        self.draw()?.png()
    }

    /// The grid as a picture.
    ///
    /// # Errors
    /// [`Error::Runtime`] if there is no item, or one without exactly one picture for each row.
    pub fn draw(&self) -> Result<Picture> {
        if self.rows.is_empty() || self.items.is_empty() {
            return Err(Error::Runtime("a grid without pictures".into()));
        }
        if let Some(item) = self.items.iter().find(|item| item.pictures.len() != self.rows.len()) {
            let (found, expected) = (item.pictures.len(), self.rows.len());
            return Err(Error::Runtime(format!("an item of a grid has {found} pictures, expected {expected}")));
        }
        let items: Vec<Vec<Picture>> =
            self.items.iter().map(|item| item.pictures.iter().map(|picture| picture.for_grid()).collect()).collect();
        let layout = Layout::of(self, &items);
        let mut sheet = Picture::plain(layout.width(), layout.height(), BACKGROUND);
        for band in 0..layout.bands {
            for (row, label) in self.rows.iter().enumerate() {
                let top = layout.top(band, row) + layout.cell_height.saturating_sub(LINE) / 2;
                sheet.write(&text::shortened(label, LABEL), GAP, top, INK);
            }
        }
        for (index, (pictures, item)) in items.iter().zip(&self.items).enumerate() {
            let (band, left) = (index / layout.columns, layout.left(index % layout.columns));
            for (row, picture) in pictures.iter().enumerate() {
                let right = (layout.cell_width - picture.width) / 2;
                let down = (layout.cell_height - picture.height) / 2;
                sheet.put(picture, left + right, layout.top(band, row) + down);
            }
            for (line, caption) in item.caption.iter().enumerate() {
                let caption = text::shortened(caption, layout.cell_width);
                sheet.write(&caption, left, layout.top(band, self.rows.len()) + line * LINE, INK);
            }
        }
        Ok(sheet)
    }
}

/// Where everything stands. A band is one row of items with their captions.
struct Layout {
    cell_width: usize,
    cell_height: usize,
    columns: usize,
    bands: usize,
    rows: usize,
    /// Pixels at the left for labels.
    labels: usize,
    /// Pixels of the captions of a band.
    captions: usize,
}

impl Layout {
    fn of(grid: &Grid, items: &[Vec<Picture>]) -> Self {
        let pictures = || items.iter().flatten();
        let lines = grid.items.iter().map(|item| item.caption.len()).max().unwrap_or(0);
        let widest = pictures().map(|picture| picture.width).max().unwrap_or(0);
        let cell_width = if lines > 0 { widest.max(SMALL) } else { widest };
        let columns = (WIDTH / (cell_width + GAP)).clamp(1, COLUMNS).min(items.len());
        let label = grid.rows.iter().map(|label| text::width(&text::shortened(label, LABEL))).max().unwrap_or(0);
        Layout {
            cell_width,
            cell_height: pictures().map(|picture| picture.height).max().unwrap_or(0),
            columns,
            bands: items.len().div_ceil(columns),
            rows: grid.rows.len(),
            labels: if label > 0 { label + 2 * GAP } else { 0 },
            captions: if lines > 0 { lines * LINE + 2 * GAP } else { 0 },
        }
    }

    fn left(&self, column: usize) -> usize {
        self.labels + GAP + column * (self.cell_width + GAP)
    }

    /// Top of a row of pictures; of the captions for the row behind the last.
    fn top(&self, band: usize, row: usize) -> usize {
        let height = self.rows * (self.cell_height + GAP) + self.captions;
        GAP + band * height + row * (self.cell_height + GAP)
    }

    fn width(&self) -> usize {
        self.left(self.columns)
    }

    fn height(&self) -> usize {
        self.top(self.bands, 0)
    }
}

impl Picture {
    /// The picture in the size that it has in a grid: whoever keeps many pictures for a grid alone keeps these.
    pub fn for_grid(&self) -> Picture {
        self.fitted(SMALL, LARGEST)
    }

    /// Copies `other` to (`left`, `top`), where it fits.
    fn put(&mut self, other: &Picture, left: usize, top: usize) {
        for y in 0..other.height {
            for x in 0..other.width {
                self.set(left + x, top + y, other.pixel(x, y));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid<'a>(rows: &[&str], pictures: &[&'a Picture], caption: &[&str], items: usize) -> Grid<'a> {
        let caption: Vec<String> = caption.iter().map(|line| line.to_string()).collect();
        let item = Item { pictures: pictures.to_vec(), caption };
        Grid { rows: rows.iter().map(|row| row.to_string()).collect(), items: vec![item; items] }
    }

    #[test]
    fn models_alternate_and_small_pictures_grow() {
        let (dense, pruned) = (Picture::plain(8, 8, [10; 3]), Picture::plain(8, 8, [250; 3]));
        let sheet = grid(&["", ""], &[&dense, &pruned], &[], 12).draw().unwrap();
        assert_eq!((sheet.width, sheet.height), (10 * 132 + 4, 2 * 2 * 132 + 4));
        let grey = |row: usize| sheet.pixel(60, row * 132 + 60);
        assert_eq!([grey(0), grey(1), grey(2), grey(3)], [[10; 3], [250; 3], [10; 3], [250; 3]]);
        // The last band has two items; behind them nothing.
        assert_eq!(sheet.pixel(132 + 60, 3 * 132 + 60), [250; 3]);
        assert_eq!(sheet.pixel(2 * 132 + 60, 3 * 132 + 60), BACKGROUND);
    }

    #[test]
    fn captions_and_labels_have_their_own_room() {
        let picture = Picture::plain(1024, 512, [200, 0, 0]);
        let rows = ["dense", "pruned"];
        let captions = ["a cat holding a sign that says hello world 猫", "error 0.0123"];
        let sheet = grid(&rows, &[&picture, &picture], &captions, 7).draw().unwrap();
        let (label, band) = (6 * text::LETTER + 2 * GAP, 2 * (128 + GAP) + 2 * LINE + 2 * GAP);
        assert_eq!((sheet.width, sheet.height), (label + GAP + 6 * (256 + GAP), GAP + 2 * band));
        let ink = |left: usize, top: usize, width: usize, height: usize| {
            let places = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
            places.filter(|&(x, y)| sheet.pixel(x, y) != BACKGROUND).count()
        };
        let area = 256 * 128;
        for band_top in [0, band] {
            for row in 0..2 {
                let top = GAP + band_top + row * (128 + GAP);
                assert_eq!(ink(label + GAP, top, 256, 128), area, "the picture is whole");
                assert!((30..area / 8).contains(&ink(0, top, label, 128)), "a label at the left");
            }
            let top = GAP + band_top + 2 * (128 + GAP);
            assert!(ink(label + GAP, top, 256, LINE) > 100, "first line");
            assert!(ink(label + GAP, top + LINE, 256, LINE) > 50, "second line");
            assert_eq!(ink(0, top + 2 * LINE, sheet.width, 2 * GAP - GAP), 0, "air below");
        }
        assert_eq!(ink(label + GAP + 256 + GAP, GAP + band + 2 * (128 + GAP), 256, LINE), 0, "no eighth item");
    }

    #[test]
    fn sizes_may_differ_and_pictures_stay_centred() {
        let (wide, high) = (Picture::plain(300, 100, [1; 3]), Picture::plain(100, 300, [2; 3]));
        let mut both = grid(&["a"], &[&wide], &["w"], 1);
        both.items.extend(grid(&["a"], &[&high], &["h"], 1).items);
        let sheet = both.draw().unwrap();
        let left = text::LETTER + 2 * GAP + GAP;
        assert_eq!(sheet.pixel(left, GAP + 128), [1; 3]);
        assert_eq!(sheet.pixel(left, GAP), BACKGROUND);
        assert_eq!(sheet.pixel(left + 256 + GAP + 128, GAP), [2; 3]);
        assert_eq!(sheet.pixel(left + 256 + GAP, GAP), BACKGROUND);
    }

    #[test]
    fn grids_that_are_none_are_refused() {
        let picture = Picture::plain(1, 1, [0; 3]);
        assert!(grid(&[], &[], &[], 1).png().is_err());
        assert!(grid(&["dense"], &[&picture], &[], 0).png().is_err());
        let error = grid(&["dense", "pruned"], &[&picture], &[], 1).png().unwrap_err();
        assert!(error.to_string().contains("1 pictures, expected 2"), "{error}");
        assert_eq!(grid(&[""], &[&picture], &[], 1).draw().unwrap().width, 128 + 2 * GAP);
    }
}
