//! `pack24` against the host's layouts, bit by bit: the error is the number of places that differ, the bound 0.

use crate::buffer::Buffer;
use crate::check::placed::{Host, Layout, Placed};
use crate::check::random::Random;
use crate::check::{Outcome, Scale};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::matrix::{Element, Matrix};
use crate::pack24::Packed24;
use crate::reference::pack24::{Packed, Refusal, compress, from_registers};

const KERNEL: &str = "pack24";

/// Rows and columns: below, at and above 32 rows, one step, and the eight steps of a repacking block.
const SMALL: [(usize, usize); 9] =
    [(1, 16), (1, 32), (3, 48), (7, 64), (8, 96), (31, 256), (32, 288), (33, 32), (65, 160)];

/// Layers of SD3.5-large and FLUX.1-dev.
const LAYERS: [(usize, usize); 3] = [(9728, 2432), (3072, 15360), (21504, 3072)];

/// Runs the cases.
///
/// # Errors
/// Those of the device; a wrong result is an [`Outcome`].
pub fn run(device: &Device, scale: Scale, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let mut random = Random::new(4);
    let shapes: &[(usize, usize)] = if scale == Scale::Full { &LAYERS } else { &SMALL };
    for (number, &(rows, columns)) in shapes.iter().enumerate() {
        let element = [Element::Bf16, Element::F16][number % 2];
        for (gap, offset) in [(0, 0), (8, 0), (3, 1)] {
            round_trip(device, &mut random, element, (rows, columns), (gap, offset), report)?;
        }
        refusals(device, &mut random, element, (rows, columns), report)?;
    }
    special_values(device, report)
}

/// dense -> neutral -> registers -> neutral -> dense.
fn round_trip(
    device: &Device,
    random: &mut Random,
    element: Element,
    (rows, columns): (usize, usize),
    (gap, offset): (usize, usize),
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let dense = Host::random_24(random, element, rows, columns);
    let layout = Layout { lead: offset, gap };
    let expected = compress(&dense.bits_16(), rows, columns).map_err(unexpected)?;
    let mut tell = |step: &str, differences: Differences| {
        let case = format!("{step} {} [{rows}, {columns}] gap {gap} offset {offset}", element.name());
        report(differences.outcome(case));
    };

    let placed = dense.place_input(device, layout)?;
    let packed = match Packed24::compress(device, placed.matrix()) {
        Err(Error::Argument { problem, .. }) => {
            tell("compress", Differences { count: 1, first: problem });
            return Ok(());
        }
        packed => packed?,
    };
    let found = packed.download()?;
    tell("compress values", differences(&found.values, &expected.values));
    tell("compress metadata", differences(&found.metadata, &expected.metadata));

    let mut unpacked = Placed::unwritten(device, element, rows, columns, layout)?;
    packed.decompress(&mut unpacked.matrix_mut())?;
    let (values, outside) = unpacked.read()?;
    let exact: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
    let wanted: Vec<u64> = dense.values.iter().map(|value| (value + 0.0).to_bits()).collect();
    let mut decompressed = differences(&exact, &wanted);
    if let Some(byte) = outside {
        decompressed = Differences { count: 1, first: format!("byte {byte} outside of the matrix was written") };
    }
    tell("decompress", decompressed);

    if columns.is_multiple_of(32) {
        let registers = packed.into_registers()?;
        let metadata = registers.metadata_to_vec()?;
        tell("to registers", differences(&metadata, &expected.to_registers().map_err(unexpected)?));
        let back = from_registers(&metadata, rows, columns).map_err(unexpected)?;
        tell("register order", differences(&back, &expected.metadata));
        tell("from registers", differences(&registers.into_neutral()?.download()?.metadata, &expected.metadata));
    }
    Ok(())
}

/// Matrices with a third nonzero, and metadata with places that do not ascend, in two groups: the first is named.
fn refusals(
    device: &Device,
    random: &mut Random,
    element: Element,
    (rows, columns): (usize, usize),
    report: &mut dyn FnMut(Outcome),
) -> Result<()> {
    let groups = rows * columns / 4;
    let mut bad = [random.bits() as usize % groups, random.bits() as usize % groups];
    bad.sort_unstable();
    let (row, group) = (bad[0] / (columns / 4), bad[0] % (columns / 4));

    let mut dense = Host::random_24(random, element, rows, columns);
    for number in bad {
        dense.values[number * 4 + 1..number * 4 + 4].fill(0.5);
    }
    let placed = dense.place_input(device, Layout::default())?;
    let case = format!("refuse {} [{rows}, {columns}] groups {bad:?}", element.name());
    report(refusal(case, Packed24::compress(device, placed.matrix()), Refusal::Nonzeros { row, group }));

    let mut host = Packed { rows, columns, values: vec![0; groups * 2], metadata: vec![0x4444; groups / 4] };
    for number in bad {
        // Places 2 and 2, or 3 and 1.
        let nibble = if number % 2 == 0 { 0b1010 } else { 0b0111 };
        let shift = number % 4 * 4;
        host.metadata[number / 4] = host.metadata[number / 4] & !(15 << shift) | nibble << shift;
    }
    let case = format!("refuse metadata {} [{rows}, {columns}] groups {bad:?}", element.name());
    report(refusal(case, Packed24::upload(device, element, &host), Refusal::Places { row, group }));
    Ok(())
}

/// NaN is kept, -0 becomes +0, infinities and subnormals are values.
fn special_values(device: &Device, report: &mut dyn FnMut(Outcome)) -> Result<()> {
    let bits: [u16; 16] =
        [0x8000, 0x7fff, 0x8000, 0xffff, 0x0001, 0, 0, 0x8001, 0x8000, 0x8000, 0x8000, 0x8000, 0, 0x7f80, 0xff80, 0];
    let expected = compress(&bits, 1, 16).map_err(unexpected)?;
    let buffer = Buffer::from_slice(device, &bits.map(half::bf16::from_bits), "check operand")?;
    let found = match Packed24::compress(device, Matrix::from_buffer(&buffer, 1, 16)?) {
        Err(Error::Argument { problem, .. }) => Differences { count: 1, first: problem },
        packed => differences(&packed?.download()?.values, &expected.values),
    };
    report(found.outcome("special values".into()));
    Ok(())
}

/// How many places differ, and the first one.
struct Differences {
    count: usize,
    first: String,
}

impl Differences {
    fn outcome(self, case: String) -> Outcome {
        Outcome { kernel: KERNEL, case, error: self.count as f64, bound: 0.0, detail: self.first }
    }
}

fn differences<T: PartialEq + std::fmt::LowerHex>(found: &[T], expected: &[T]) -> Differences {
    if found.len() != expected.len() {
        return Differences { count: usize::MAX, first: format!("{} values for {}", found.len(), expected.len()) };
    }
    let places: Vec<usize> = (0..found.len()).filter(|&place| found[place] != expected[place]).collect();
    let first = places.first().map_or_else(String::new, |&place| {
        format!("place {place}: found {:#x}, expected {:#x}", found[place], expected[place])
    });
    Differences { count: places.len(), first }
}

fn refusal(case: String, found: Result<Packed24>, expected: Refusal) -> Outcome {
    let said = match found {
        Ok(_) => "nothing".to_string(),
        Err(Error::Argument { problem, .. }) => problem,
        Err(error) => error.to_string(),
    };
    let (expected, same) = (expected.to_string(), said == expected.to_string());
    let detail = if same { String::new() } else { format!("said `{said}`, expected `{expected}`") };
    Outcome { kernel: KERNEL, case, error: f64::from(u8::from(!same)), bound: 0.0, detail }
}

/// A host refusal of a matrix that the check itself made.
fn unexpected(refusal: Refusal) -> Error {
    Error::argument(KERNEL, refusal.to_string())
}
