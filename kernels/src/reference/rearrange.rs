//! Where values come from.

/// Patches of latents [batch, channels, rows * patch, columns * patch]: the position in the latents of every value of
/// [batch, rows * columns, channels * patch * patch].
pub fn patchify(batch: usize, channels: usize, [rows, columns]: [usize; 2], patch: usize) -> Vec<usize> {
    let (height, width) = (rows * patch, columns * patch);
    let mut places = Vec::with_capacity(batch * channels * height * width);
    for b in 0..batch {
        for row in 0..rows {
            for column in 0..columns {
                for channel in 0..channels {
                    for y in row * patch..(row + 1) * patch {
                        for x in column * patch..(column + 1) * patch {
                            places.push(((b * channels + channel) * height + y) * width + x);
                        }
                    }
                }
            }
        }
    }
    places
}

/// Latents of patches [batch, rows * columns, patch * patch * channels]: the position in the patches of every value of
/// [batch, channels, rows * patch, columns * patch].
pub fn unpatchify(batch: usize, channels: usize, [rows, columns]: [usize; 2], patch: usize) -> Vec<usize> {
    let mut places = Vec::with_capacity(batch * channels * rows * columns * patch * patch);
    for b in 0..batch {
        for channel in 0..channels {
            for y in 0..rows * patch {
                for x in 0..columns * patch {
                    let token = (b * rows + y / patch) * columns + x / patch;
                    places.push(((token * patch + y % patch) * patch + x % patch) * channels + channel);
                }
            }
        }
    }
    places
}

/// The middle `rows` x `columns` entries of a table [size * size, width].
pub fn crop(size: usize, [rows, columns]: [usize; 2], width: usize) -> Vec<usize> {
    let (top, left) = ((size - rows) / 2, (size - columns) / 2);
    let entries = (0..rows).flat_map(|row| (0..columns).map(move |column| (top + row) * size + left + column));
    entries.flat_map(|entry| (0..width).map(move |i| entry * width + i)).collect()
}
