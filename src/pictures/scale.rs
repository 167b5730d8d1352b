//! Other sizes of a picture: whole factors up, area averages down.

use super::Picture;

impl Picture {
    /// The picture so that its longer side is about `pixels`: a larger one shrinks to exactly that, a smaller one grows
    /// by a whole factor, at least 1, to at most `small` pixels.
    pub(super) fn fitted(&self, small: usize, pixels: usize) -> Picture {
        let longer = self.width.max(self.height).max(1);
        if longer > pixels {
            let other = |side: usize| ((side * pixels + longer / 2) / longer).max(1);
            return self.reduced(other(self.width), other(self.height));
        }
        self.enlarged((small / longer).max(1))
    }

    /// Every pixel `factor` times as wide and high.
    pub(super) fn enlarged(&self, factor: usize) -> Picture {
        let (width, height) = (self.width * factor, self.height * factor);
        let rgb = (0..width * height).flat_map(|at| self.pixel(at % width / factor, at / width / factor)).collect();
        Picture { width, height, rgb }
    }

    /// Reduced to `width` x `height`, not more than it has: each new pixel is the average of the area that it covers,
    /// pixels that it covers in part counting by that part. Exact in integers.
    pub fn reduced(&self, width: usize, height: usize) -> Picture {
        let (columns, rows) = (covered(self.width, width), covered(self.height, height));
        let area = (self.width * self.height) as u64;
        let mut rgb = Vec::with_capacity(width * height * 3);
        for row in &rows {
            for column in &columns {
                let mut sums = [0u64; 3];
                for &(y, tall) in row {
                    for &(x, wide) in column {
                        let weight = (tall * wide) as u64;
                        for (sum, byte) in sums.iter_mut().zip(self.pixel(x, y)) {
                            *sum += weight * u64::from(byte);
                        }
                    }
                }
                rgb.extend(sums.map(|sum| ((sum + area / 2) / area) as u8));
            }
        }
        Picture { width, height, rgb }
    }
}

/// For each of `new` equal pieces of `old` pixels, the pixels that it covers and how much of each, in units of 1 / `new`
/// of a pixel; the parts of one piece add up to `old`.
fn covered(old: usize, new: usize) -> Vec<Vec<(usize, usize)>> {
    let piece = |index: usize| {
        let (start, end) = (index * old, (index + 1) * old);
        let part = |pixel: usize| (pixel, end.min((pixel + 1) * new) - start.max(pixel * new));
        (start / new..end.div_ceil(new)).map(part).collect()
    };
    (0..new).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduction_averages_areas() {
        let rgb = [10, 20, 30, 40, 50, 60].iter().flat_map(|&grey| [grey; 3]).collect();
        let picture = Picture { width: 3, height: 2, rgb };
        assert_eq!(picture.reduced(3, 2), picture);
        assert_eq!(picture.reduced(1, 1).rgb, [35; 3]);
        // Half of a row: 1.5 pixels each, (10 + 20 / 2) / 1.5 = 13.3 and (20 / 2 + 30) / 1.5 = 26.7.
        let half = picture.reduced(2, 2);
        assert_eq!([0, 1, 2, 3].map(|i| half.rgb[3 * i]), [13, 27, 43, 57]);
    }

    #[test]
    fn reduction_keeps_the_mean_at_every_size() {
        let (width, height) = (37, 23);
        let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let mean = |rgb: &[u8]| rgb.iter().map(|&x| f64::from(x)).sum::<f64>() / rgb.len() as f64;
        let picture = Picture { width, height, rgb };
        for new_width in 1..=width {
            let small = picture.reduced(new_width, new_width.min(height));
            assert!((mean(&small.rgb) - mean(&picture.rgb)).abs() < 0.5, "{new_width}");
        }
    }

    #[test]
    fn sizes_fit() {
        let size = |width, height| {
            let picture = Picture::plain(width, height, [1, 2, 3]).fitted(128, 256);
            (picture.width, picture.height)
        };
        assert_eq!(size(8, 8), (128, 128));
        assert_eq!(size(100, 60), (100, 60));
        assert_eq!(size(60, 20), (120, 40));
        assert_eq!(size(256, 200), (256, 200));
        assert_eq!(size(1024, 768), (256, 192));
        assert_eq!(size(3000, 2), (256, 1));
    }
}
