//! Matrix instructions against products of plain matrices, with a value of its own at every position.

use half::{bf16, f16};
use obsdiff_ptx::tensor::{
    Accumulator, Element, Lanes, MetadataError, Mma, SparseMma, WARP, ldmatrix, matrix_row_lane, movmatrix, stmatrix,
};

const M: usize = 16;
const N: usize = 8;

/// A row-major matrix.
#[derive(Clone)]
struct Matrix {
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn new(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        Self { columns, values: (0..rows * columns).map(|place| value(place / columns, place % columns)).collect() }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    fn times(&self, other: &Matrix, plus: &Matrix) -> Matrix {
        let rows = self.values.len() / self.columns;
        Matrix::new(rows, other.columns, |row, column| {
            (0..self.columns).map(|k| self.at(row, k) * other.at(k, column)).sum::<f64>() + plus.at(row, column)
        })
    }
}

/// At most 256 positions and a value of its own at each: a multiple of 1/16 in [-8, 8), exact in every type, with
/// products and sums that are exact in f32.
fn distinct(rows: usize, columns: usize, step: usize) -> Matrix {
    assert!(rows * columns <= 256 && step % 2 == 1);
    Matrix::new(rows, columns, |row, column| ((row * columns + column) * step % 256) as f64 / 16.0 - 8.0)
}

fn a_values(rows: usize, columns: usize) -> Matrix {
    distinct(rows, columns, 101)
}

fn b_values(rows: usize, columns: usize) -> Matrix {
    distinct(rows, columns, 37)
}

fn c_values() -> Matrix {
    Matrix::new(M, N, |row, column| (row * N + column) as f64 - 64.0)
}

/// The bits of `value`, which `element` holds exactly (tf32: with rubbish in the ignored bits).
fn encode(element: Element, value: f64) -> u32 {
    match element {
        Element::F16 => f16::from_f64(value).to_bits().into(),
        Element::Bf16 => bf16::from_f64(value).to_bits().into(),
        Element::Tf32 => (value as f32).to_bits() | 0x1a5b,
    }
}

fn packed(element: Element) -> bool {
    element != Element::Tf32
}

/// A row-major fragment as PTX ISA gives it for a0, a1, ...: element `i` of `lane` is at (row, column).
fn a_place(element: Element, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    match (packed(element), k) {
        // m16n8k8 and m16n8k4, tf32.
        (false, _) => (if i & 1 == 0 { group } else { group + 8 }, if i < 2 { thread } else { thread + 4 }),
        // m16n8k8, 16 bits.
        (true, 8) => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
        // m16n8k16, 16 bits.
        (true, _) => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, if i < 4 { thread * 2 + (i & 1) } else { thread * 2 + (i & 1) + 8 })
        }
    }
}

/// The same for b0, b1, ...: (row, column). k = 32 is the sparse shape.
fn b_place(element: Element, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    if packed(element) { (thread * 2 + (i & 1) + 8 * (i / 2), group) } else { (thread + 4 * i, group) }
}

/// The same for c0, c1, ... of any shape.
fn c_place(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { lane / 4 } else { lane / 4 + 8 }, lane % 4 * 2 + (i & 1))
}

/// Registers from the elements that each lane holds, two to a register if `halves`.
fn fragment(registers: usize, halves: bool, element: impl Fn(usize, usize) -> u32) -> Vec<Lanes> {
    (0..registers)
        .map(|register| {
            std::array::from_fn(|lane| {
                if halves {
                    element(lane, 2 * register + 1) << 16 | element(lane, 2 * register)
                } else {
                    element(lane, register)
                }
            })
        })
        .collect()
}

fn c_fragment(accumulator: Accumulator, c: &Matrix) -> Vec<Lanes> {
    let value = |lane, i| {
        let (row, column) = c_place(lane, i);
        c.at(row, column)
    };
    match accumulator {
        Accumulator::F32 => fragment(4, false, |lane, i| (value(lane, i) as f32).to_bits()),
        Accumulator::F16 => fragment(2, true, |lane, i| f16::from_f64(value(lane, i)).to_bits().into()),
    }
}

fn d_matrix(accumulator: Accumulator, d: &[Lanes]) -> Matrix {
    let mut matrix = Matrix::new(M, N, |_, _| f64::NAN);
    for lane in 0..WARP {
        for i in 0..4 {
            let (row, column) = c_place(lane, i);
            matrix.values[row * N + column] = match accumulator {
                Accumulator::F32 => f32::from_bits(d[i][lane]).into(),
                Accumulator::F16 => f16::from_bits((d[i / 2][lane] >> (16 * (i % 2))) as u16).to_f64(),
            };
        }
    }
    matrix
}

/// A B + C as the accumulator holds it.
fn product(accumulator: Accumulator, a: &Matrix, b: &Matrix, c: &Matrix) -> Matrix {
    let mut product = a.times(b, c);
    if accumulator == Accumulator::F16 {
        product.values.iter_mut().for_each(|value| *value = f16::from_f64(*value).to_f64());
    }
    product
}

#[track_caller]
fn assert_same(found: &Matrix, expected: &Matrix, what: &str) {
    for (place, (found, expected)) in found.values.iter().zip(&expected.values).enumerate() {
        assert_eq!(found, expected, "{what}: row {} column {}", place / N, place % N);
    }
}

const DENSE: [(usize, Element, Accumulator); 8] = [
    (8, Element::F16, Accumulator::F32),
    (16, Element::F16, Accumulator::F32),
    (8, Element::F16, Accumulator::F16),
    (16, Element::F16, Accumulator::F16),
    (8, Element::Bf16, Accumulator::F32),
    (16, Element::Bf16, Accumulator::F32),
    (4, Element::Tf32, Accumulator::F32),
    (8, Element::Tf32, Accumulator::F32),
];

/// The fragments of A and B for a dense shape.
fn dense_fragments(mma: &Mma, k: usize, element: Element, a: &Matrix, b: &Matrix) -> (Vec<Lanes>, Vec<Lanes>) {
    let at = |matrix: &Matrix, (row, column): (usize, usize)| encode(element, matrix.at(row, column));
    let a = fragment(mma.a_registers(), packed(element), |lane, i| at(a, a_place(element, k, lane, i)));
    let b = fragment(mma.b_registers(), packed(element), |lane, i| at(b, b_place(element, lane, i)));
    (a, b)
}

#[test]
fn every_dense_shape_multiplies() {
    for (k, element, accumulator) in DENSE {
        let mma = Mma::new(k, element, accumulator).expect("the shape exists");
        let (a, b, c) = (a_values(M, k), b_values(k, N), c_values());
        let (a_registers, b_registers) = dense_fragments(&mma, k, element, &a, &b);
        let mut d = vec![[0xdead_beef; WARP]; mma.c_registers()];
        mma.run(&a_registers, &b_registers, &c_fragment(accumulator, &c), &mut d);
        assert_same(&d_matrix(accumulator, &d), &product(accumulator, &a, &b, &c), &format!("{mma:?}"));
    }
}

#[test]
fn every_swap_of_registers_changes_a_dense_product() {
    for (k, element, accumulator) in DENSE {
        let mma = Mma::new(k, element, accumulator).expect("the shape exists");
        let (a, b, c) = (a_values(M, k), b_values(k, N), c_values());
        let (a_registers, b_registers) = dense_fragments(&mma, k, element, &a, &b);
        let c_registers = c_fragment(accumulator, &c);
        let expected = product(accumulator, &a, &b, &c);
        let differs = |a: &[Lanes], b: &[Lanes], c: &[Lanes], what: &str| {
            let mut d = vec![[0; WARP]; mma.c_registers()];
            mma.run(a, b, c, &mut d);
            let found = d_matrix(accumulator, &d);
            assert_ne!(found.values, expected.values, "{mma:?}: {what}");
        };
        for first in 0..a_registers.len() {
            for second in 0..first {
                let mut swapped = a_registers.clone();
                swapped.swap(first, second);
                differs(&swapped, &b_registers, &c_registers, &format!("a{first} and a{second}"));
            }
        }
        for second in 1..b_registers.len() {
            let mut swapped = b_registers.clone();
            swapped.swap(0, second);
            differs(&a_registers, &swapped, &c_registers, &format!("b0 and b{second}"));
        }
        for second in 1..c_registers.len() {
            let mut swapped = c_registers.clone();
            swapped.swap(0, second);
            differs(&a_registers, &b_registers, &swapped, &format!("c0 and c{second}"));
        }
        if packed(element) {
            let mut swapped = a_registers.clone();
            swapped[0].iter_mut().for_each(|bits| *bits = bits.rotate_left(16));
            differs(&swapped, &b_registers, &c_registers, "the halves of a0");
        }
    }
}

#[test]
fn shapes_that_ptx_lacks_do_not_exist() {
    for element in [Element::F16, Element::Bf16, Element::Tf32] {
        for accumulator in [Accumulator::F16, Accumulator::F32] {
            for k in 0..=64 {
                let known = DENSE.contains(&(k, element, accumulator));
                assert_eq!(Mma::new(k, element, accumulator).is_some(), known, "{k} {element:?} {accumulator:?}");
                let sparse = matches!(k, 16 | 32)
                    && (element == Element::F16 || element == Element::Bf16 && accumulator == Accumulator::F32);
                for selector in 0..8 {
                    let known = sparse && selector < if k == 16 { 4 } else { 2 };
                    let found = SparseMma::new(k, element, accumulator, selector).is_some();
                    assert_eq!(found, known, "sparse {k} {element:?} {accumulator:?} {selector}");
                }
            }
        }
    }
}

#[test]
fn sums_round_once_and_in_wide_precision() {
    let mma = Mma::new(16, Element::Bf16, Accumulator::F32).expect("the shape exists");
    let run = |a: [f32; 16], c: f32| {
        let a = Matrix::new(M, 16, |row, k| if row == 0 { a[k].into() } else { 0.0 });
        let b = Matrix::new(16, N, |_, column| if column == 0 { 1.0 } else { 0.0 });
        let (a, b) = dense_fragments(&mma, 16, Element::Bf16, &a, &b);
        let c = Matrix::new(M, N, |_, _| c.into());
        let mut d = vec![[0; WARP]; 4];
        mma.run(&a, &b, &c_fragment(Accumulator::F32, &c), &mut d);
        f32::from_bits(d[0][0])
    };
    let two = |power: i32| 2f32.powi(power);
    // The large terms cancel and the small ones survive, which f32 sums in any order of k would lose.
    let mut terms = [0.0; 16];
    (terms[0], terms[1], terms[15]) = (two(30), two(-10), -two(30));
    assert_eq!(run(terms, 0.0), two(-10));
    // 1 + 2^-24 + 2^-24: each alone is half a last place and would vanish.
    let mut terms = [0.0; 16];
    (terms[0], terms[1]) = (two(-24), two(-24));
    assert_eq!(run(terms, 1.0), 1.0 + two(-23));
    // Infinities and their difference.
    let mut terms = [0.0; 16];
    terms[3] = f32::INFINITY;
    assert_eq!(run(terms, 1.0), f32::INFINITY);
    assert_eq!(run(terms, f32::NEG_INFINITY).to_bits(), 0x7fff_ffff);
    terms[3] = f32::NAN;
    assert_eq!(run(terms, 1.0).to_bits(), 0x7fff_ffff);
}

#[test]
fn half_accumulators_overflow_to_infinity() {
    let mma = Mma::new(16, Element::F16, Accumulator::F16).expect("the shape exists");
    let large = Matrix::new(M, 16, |row, k| if k == row { 60000.0 } else { 0.0 });
    let b = Matrix::new(16, N, |row, column| if row == column { 2.0 } else { 0.0 });
    let (a, b) = dense_fragments(&mma, 16, Element::F16, &large, &b);
    let mut d = vec![[0; WARP]; 2];
    mma.run(&a, &b, &vec![[0; WARP]; 2], &mut d);
    assert_eq!(d[0][0], 0x7c00);
}

/// The kept columns of each four, different from one four to the next and between rows 8 apart.
fn kept(row: usize, four: usize) -> [usize; 2] {
    const PAIRS: [[usize; 2]; 6] = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
    PAIRS[(row * 5 + row / 8 + four * 7 + row * four) % 6]
}

/// A sparse A as the dense matrix, its fragment, and the metadata registers, rubbish in those that nobody asks for.
fn sparse_operand(k: usize, element: Element, selector: usize) -> (Matrix, Vec<Lanes>, Lanes) {
    let values = a_values(M, k / 2);
    let mut dense = Matrix::new(M, k, |_, _| 0.0);
    for row in 0..M {
        for four in 0..k / 4 {
            for (step, column) in kept(row, four).into_iter().enumerate() {
                dense.values[row * k + 4 * four + column] = values.at(row, 2 * four + step);
            }
        }
    }
    // PTX ISA 9.7.14.6.2: a0, a1 are two of columns 4 thread .. + 4 of row group, a2, a3 of row group + 8, and
    // a4 to a7 the same 16 columns further.
    let registers = fragment(k / 8, true, |lane, i| {
        let row = if i % 4 < 2 { lane / 4 } else { lane / 4 + 8 };
        let four = lane % 4 + if i < 4 { 0 } else { 4 };
        encode(element, values.at(row, 2 * four + i % 2))
    });
    let mut metadata = [0x5555_5555; WARP];
    for group in 0..8 {
        for sixteen in 0..k / 16 {
            let half_word = |row: usize| {
                (0..4).fold(0, |bits, four| {
                    let [first, second] = kept(row, 4 * sixteen + four);
                    bits | ((first | second << 2) as u32) << (4 * four)
                })
            };
            let lane = if k == 16 { 4 * group + selector } else { 4 * group + 2 * selector + sixteen };
            metadata[lane] = half_word(group) | half_word(group + 8) << 16;
        }
    }
    (dense, registers, metadata)
}

#[test]
fn every_sparse_shape_and_selector_multiplies() {
    for (k, selectors) in [(16, 4), (32, 2)] {
        for (element, accumulator) in
            [(Element::F16, Accumulator::F32), (Element::F16, Accumulator::F16), (Element::Bf16, Accumulator::F32)]
        {
            for selector in 0..selectors {
                let mma = SparseMma::new(k, element, accumulator, selector).expect("the shape exists");
                let (a, a_registers, metadata) = sparse_operand(k, element, selector as usize);
                let (b, c) = (b_values(k, N), c_values());
                let b_registers = fragment(mma.b_registers(), true, |lane, i| {
                    let (row, column) = b_place(element, lane, i);
                    encode(element, b.at(row, column))
                });
                let c_registers = c_fragment(accumulator, &c);
                let mut d = vec![[0; WARP]; mma.c_registers()];
                mma.run(&a_registers, &b_registers, &c_registers, &metadata, &mut d).expect("indices ascend");
                assert_same(&d_matrix(accumulator, &d), &product(accumulator, &a, &b, &c), &format!("{mma:?}"));

                // Another selector finds the rubbish.
                let other = SparseMma::new(k, element, accumulator, (selector + 1) % selectors).expect("it exists");
                let rubbish = other.run(&a_registers, &b_registers, &c_registers, &metadata, &mut d);
                assert!(rubbish.is_err(), "{other:?}");
                // Metadata of the two row halves exchanged.
                let swapped = metadata.map(|bits| bits.rotate_left(16));
                mma.run(&a_registers, &b_registers, &c_registers, &swapped, &mut d).expect("indices ascend");
                assert_ne!(d_matrix(accumulator, &d).values, product(accumulator, &a, &b, &c).values, "{mma:?}");
            }
        }
    }
}

#[test]
fn metadata_of_both_column_halves_is_told_apart() {
    let mma = SparseMma::new(32, Element::Bf16, Accumulator::F32, 1).expect("the shape exists");
    let (a, a_registers, metadata) = sparse_operand(32, Element::Bf16, 1);
    let (b, c) = (b_values(32, N), c_values());
    let b_registers = fragment(4, true, |lane, i| {
        let (row, column) = b_place(Element::Bf16, lane, i);
        encode(Element::Bf16, b.at(row, column))
    });
    let swapped = std::array::from_fn(|lane| metadata[lane ^ 1]);
    let mut d = vec![[0; WARP]; 4];
    mma.run(&a_registers, &b_registers, &c_fragment(Accumulator::F32, &c), &swapped, &mut d).expect("they ascend");
    assert_ne!(d_matrix(Accumulator::F32, &d).values, a.times(&b, &c).values);
}

#[test]
fn indices_that_do_not_ascend_are_refused_where_they_stand() {
    for (k, selectors) in [(16, 4u32), (32, 2)] {
        for selector in 0..selectors {
            let mma = SparseMma::new(k, Element::F16, Accumulator::F32, selector).expect("the shape exists");
            let (_, a, metadata) = sparse_operand(k, Element::F16, selector as usize);
            let (b, c) = (vec![[0; WARP]; k / 8], vec![[0; WARP]; 4]);
            for row in 0..M {
                for four in 0..k / 4 {
                    for indices in [[1, 0], [2, 2], [0, 0], [3, 1]] {
                        let within = 4 * (row % 8) + if k == 16 { 0 } else { four / 4 };
                        let lane = within + selector as usize * if k == 16 { 1 } else { 2 };
                        let shift = 16 * (row / 8) + 4 * (four % 4);
                        let mut broken = metadata;
                        broken[lane] &= !(0xf << shift);
                        broken[lane] |= u32::from(indices[0] | indices[1] << 2) << shift;
                        let mut d = vec![[7; WARP]; 4];
                        let error = mma.run(&a, &b, &c, &broken, &mut d).expect_err("the indices do not ascend");
                        assert_eq!(error, MetadataError { lane, row, column: 4 * four, indices });
                        assert_eq!(d, vec![[7; WARP]; 4]);
                    }
                }
            }
        }
    }
}

/// Rows of `count` matrices with a different element everywhere.
fn matrix_rows(count: usize) -> Vec<[u8; 16]> {
    (0..8 * count).map(|row| std::array::from_fn(|byte| (row * 16 + byte * 7 + byte / 2) as u8)).collect()
}

fn matrix_element(rows: &[[u8; 16]], matrix: usize, row: usize, column: usize) -> u32 {
    let bytes = rows[matrix_row_lane(matrix, row)];
    u32::from(bytes[2 * column]) | u32::from(bytes[2 * column + 1]) << 8
}

#[test]
fn ldmatrix_hands_out_rows_or_columns() {
    for count in [1, 2, 4] {
        let rows = matrix_rows(count);
        for transpose in [false, true] {
            let mut d = vec![[0; WARP]; count];
            ldmatrix(transpose, &rows, &mut d);
            for matrix in 0..count {
                for lane in 0..WARP {
                    let (group, column) = (lane / 4, 2 * (lane % 4));
                    let element = |step| match transpose {
                        false => matrix_element(&rows, matrix, group, column + step),
                        true => matrix_element(&rows, matrix, column + step, group),
                    };
                    assert_eq!(d[matrix][lane], element(0) | element(1) << 16, "{matrix} {lane} {transpose}");
                }
            }
        }
    }
}

#[test]
fn stmatrix_undoes_ldmatrix() {
    for count in [1, 2, 4] {
        for transpose in [false, true] {
            let rows = matrix_rows(count);
            let mut registers = vec![[0; WARP]; count];
            ldmatrix(transpose, &rows, &mut registers);
            let mut stored = vec![[0; 16]; 8 * count];
            stmatrix(transpose, &registers, &mut stored);
            assert_eq!(stored, rows);
        }
    }
}

#[test]
fn movmatrix_transposes() {
    let rows = matrix_rows(1);
    let (mut plain, mut transposed) = ([[0; WARP]], [[0; WARP]]);
    ldmatrix(false, &rows, &mut plain);
    ldmatrix(true, &rows, &mut transposed);
    assert_ne!(plain, transposed);
    assert_eq!(movmatrix(&plain[0]), transposed[0]);
    assert_eq!(movmatrix(&transposed[0]), plain[0]);
}

#[test]
fn a_row_major_tile_loads_as_the_operands_of_a_product() {
    // The usual path of a kernel: A by ldmatrix.x4, B stored as [k][n] by ldmatrix.x2.trans, then the product.
    let (a, b, c) = (a_values(M, 16), b_values(16, N), c_values());
    let row = |matrix: &Matrix, row: usize, first: usize| -> [u8; 16] {
        std::array::from_fn(|byte| bf16::from_f64(matrix.at(row, first + byte / 2)).to_le_bytes()[byte % 2])
    };
    let a_rows: Vec<_> = (0..32).map(|lane| row(&a, lane % 16, 8 * (lane / 16))).collect();
    let b_rows: Vec<_> = (0..16).map(|lane| row(&b, lane, 0)).collect();
    let (mut a_registers, mut b_registers) = ([[0; WARP]; 4], [[0; WARP]; 2]);
    ldmatrix(false, &a_rows, &mut a_registers);
    ldmatrix(true, &b_rows, &mut b_registers);
    let mma = Mma::new(16, Element::Bf16, Accumulator::F32).expect("the shape exists");
    let mut d = [[0; WARP]; 4];
    mma.run(&a_registers, &b_registers, &c_fragment(Accumulator::F32, &c), &mut d);
    assert_same(&d_matrix(Accumulator::F32, &d), &a.times(&b, &c), "ldmatrix and mma");
}
