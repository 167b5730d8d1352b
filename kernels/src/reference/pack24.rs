//! 2:4 sparse matrices on the host: the layouts that `pack24.cu` describes, for files and as its reference.
//!
//! Values are bit patterns of f16 or bf16; both agree on what zero is. NaN is not zero, -0 is.

/// Columns per word of metadata.
pub const WORD_COLUMNS: usize = 16;

/// Columns per step of the register order.
pub const STEP_COLUMNS: usize = 32;

/// Rows that one warp's metadata covers; the register order pads to them.
pub const BLOCK_ROWS: usize = 32;

/// Metadata of four groups that keep places 0 and 1.
const FILLER: u16 = 0x4444;

/// Why a matrix has no 2:4 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{columns} columns; 2:4 storage takes multiples of {multiple}: store the matrix dense")]
    Columns { columns: usize, multiple: usize },
    #[error(
        "row {row}, columns {} to {}: more than two of four values are not zero; prune the matrix to 2:4 or store \
         it dense", 4 * group, 4 * group + 3
    )]
    Nonzeros { row: usize, group: usize },
    #[error(
        "metadata of row {row}, columns {} to {}: the places are not in ascending order; the file is damaged", 4 * group,
        4 * group + 3
    )]
    Places { row: usize, group: usize },
}

/// A matrix in neutral order, as files hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub rows: usize,
    pub columns: usize,
    /// 16-bit `[rows, columns / 2]`, row-major: the two kept values of each group of four.
    pub values: Vec<u16>,
    /// u16 `[rows, columns / 16]`, row-major: four bits per group, `first | second << 2`, first < second.
    pub metadata: Vec<u16>,
}

/// Checks that `columns` is a positive multiple of `multiple`.
///
/// # Errors
/// [`Refusal::Columns`].
pub fn check_columns(columns: usize, multiple: usize) -> Result<(), Refusal> {
    match columns > 0 && columns.is_multiple_of(multiple) {
        true => Ok(()),
        false => Err(Refusal::Columns { columns, multiple }),
    }
}

/// Packs `dense`, 16-bit `[rows, columns]`, row-major. A group with fewer than two nonzeros keeps its
/// lowest-numbered zeros besides, stored as +0.
///
/// # Errors
/// [`Refusal::Columns`] unless `columns` is a multiple of 16; [`Refusal::Nonzeros`] with the first group in row-major
/// order that has more than two.
///
/// # Panics
/// If `dense` has another length.
pub fn compress(dense: &[u16], rows: usize, columns: usize) -> Result<Packed, Refusal> {
    check_columns(columns, WORD_COLUMNS)?;
    assert_eq!(dense.len(), rows * columns, "pack24: values of a {rows} x {columns} matrix");
    let mut values = Vec::with_capacity(dense.len() / 2);
    let mut metadata = vec![0; dense.len() / WORD_COLUMNS];
    for (number, four) in dense.chunks_exact(4).enumerate() {
        let is_zero = |place: &usize| four[*place] & 0x7fff == 0;
        let mut kept: Vec<usize> = (0..4).filter(|place| !is_zero(place)).collect();
        if kept.len() > 2 {
            return Err(Refusal::Nonzeros { row: number / (columns / 4), group: number % (columns / 4) });
        }
        kept.extend((0..4).filter(is_zero).take(2 - kept.len()));
        kept.sort_unstable();
        values.extend(kept.iter().map(|place| if is_zero(place) { 0 } else { four[*place] }));
        metadata[number / 4] |= ((kept[0] | kept[1] << 2) << (number % 4 * 4)) as u16;
    }
    Ok(Packed { rows, columns, values, metadata })
}

impl Packed {
    /// Checks the metadata of a file.
    ///
    /// # Errors
    /// [`Refusal::Columns`]; [`Refusal::Places`] with the first group in row-major order whose places do not ascend.
    pub fn check(&self) -> Result<(), Refusal> {
        check_columns(self.columns, WORD_COLUMNS)?;
        let groups = self.columns / 4;
        match (0..self.rows * groups).find(|&number| {
            let [first, second] = self.places(number);
            first >= second
        }) {
            None => Ok(()),
            Some(number) => Err(Refusal::Places { row: number / groups, group: number % groups }),
        }
    }

    /// Places of the kept values in group `number`, counted over the whole matrix.
    pub fn places(&self, number: usize) -> [usize; 2] {
        let bits = usize::from(self.metadata[number / 4] >> (number % 4 * 4));
        [bits & 3, bits >> 2 & 3]
    }

    /// The dense matrix, 16-bit `[rows, columns]`, row-major.
    pub fn decompress(&self) -> Vec<u16> {
        let mut dense = vec![0; self.rows * self.columns];
        for (number, pair) in self.values.chunks_exact(2).enumerate() {
            for (place, value) in self.places(number).into_iter().zip(pair) {
                dense[number * 4 + place] = *value;
            }
        }
        dense
    }

    /// The metadata in register order: u32 `[columns / 32, padded rows]`.
    ///
    /// # Errors
    /// [`Refusal::Columns`] unless `columns` is a multiple of 32.
    pub fn to_registers(&self) -> Result<Vec<u32>, Refusal> {
        check_columns(self.columns, STEP_COLUMNS)?;
        let padded = self.rows.next_multiple_of(BLOCK_ROWS);
        let words = self.columns / WORD_COLUMNS;
        let mut registers = vec![0; words / 2 * padded];
        for row in 0..padded {
            for word in 0..words {
                let bits = if row < self.rows { self.metadata[row * words + word] } else { FILLER };
                let (index, shift) = register_place(row, word, padded);
                registers[index] |= u32::from(bits) << shift;
            }
        }
        Ok(registers)
    }
}

/// The neutral metadata, u16 `[rows, columns / 16]`, of metadata in register order.
///
/// # Errors
/// [`Refusal::Columns`] unless `columns` is a multiple of 32.
pub fn from_registers(registers: &[u32], rows: usize, columns: usize) -> Result<Vec<u16>, Refusal> {
    check_columns(columns, STEP_COLUMNS)?;
    let padded = rows.next_multiple_of(BLOCK_ROWS);
    let words = columns / WORD_COLUMNS;
    let place = |number: usize| register_place(number / words, number % words, padded);
    Ok((0..rows * words).map(place).map(|(index, shift)| (registers[index] >> shift) as u16).collect())
}

/// Where word `word` of row `row` lies in register order: index of the u32 and shift inside it.
fn register_place(row: usize, word: usize, padded_rows: usize) -> (usize, usize) {
    let lane = row % 8 * 4 + row % 32 / 16 * 2 + word % 2;
    (word / 2 * padded_rows + row / 32 * 32 + lane, row % 16 / 8 * 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keep_their_nonzeros_and_the_lowest_zeros_besides() {
        // a at 1 and b at 3; c at 0; d at 3; none.
        let dense = [0, 7, 0, 9, 5, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
        let packed = compress(&dense, 1, 16).expect("it is 2:4");
        assert_eq!(packed.values, [7, 9, 5, 0, 0, 3, 0, 0]);
        assert_eq!(packed.metadata, [0x4c4d]);
        assert_eq!(packed.decompress(), dense);
    }

    #[test]
    fn minus_zero_is_zero_and_nan_is_not() {
        let mut dense = [0; 16];
        dense[..4].copy_from_slice(&[0x8000, 0x7fff, 0x8000, 0xffff]);
        let packed = compress(&dense, 1, 16).expect("it is 2:4");
        assert_eq!(packed.values[..2], [0x7fff, 0xffff]);
        assert_eq!(packed.decompress()[..4], [0, 0x7fff, 0, 0xffff]);
    }

    #[test]
    fn the_first_group_with_three_nonzeros_is_named() {
        let mut dense = vec![0; 3 * 32];
        for place in [32 + 4, 32 + 5, 32 + 7, 64, 65, 66] {
            dense[place] = 1;
        }
        assert_eq!(compress(&dense, 3, 32), Err(Refusal::Nonzeros { row: 1, group: 1 }));
        assert_eq!(compress(&dense[..24], 1, 24), Err(Refusal::Columns { columns: 24, multiple: 16 }));
    }

    #[test]
    fn metadata_whose_places_do_not_ascend_is_refused() {
        let mut packed = compress(&[0; 64], 2, 32).expect("it is 2:4");
        assert_eq!(packed.check(), Ok(()));
        packed.metadata[3] = 0x4454;
        assert_eq!(packed.check(), Err(Refusal::Places { row: 1, group: 5 }));
    }

    #[test]
    fn register_order_is_the_instructions() {
        // Lane 4 g + t: t = 0, 1 the first 16 rows' two words, t = 2, 3 the next 16 rows'; rows 8 on in the high half.
        assert_eq!(register_place(0, 0, 64), (0, 0));
        assert_eq!(register_place(0, 1, 64), (1, 0));
        assert_eq!(register_place(8, 0, 64), (0, 16));
        assert_eq!(register_place(16, 1, 64), (3, 0));
        assert_eq!(register_place(29, 0, 64), (22, 16));
        assert_eq!(register_place(33, 2, 64), (64 + 32 + 4, 0));
    }

    #[test]
    fn both_orders_hold_the_same() {
        for rows in [1, 8, 31, 32, 33, 70] {
            let columns = 96;
            let metadata: Vec<u16> = (0..rows * 6).map(|i| (i * 7919 % 65521) as u16).collect();
            let packed = Packed { rows, columns, values: vec![0; rows * 48], metadata };
            let registers = packed.to_registers().expect("96 is a multiple of 32");
            assert_eq!(from_registers(&registers, rows, columns).as_ref(), Ok(&packed.metadata), "{rows} rows");
        }
    }
}
