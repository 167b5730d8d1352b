//! Loads, stores, atomics, asynchronous copies (PTX ISA 9.7.9, 9.7.13.5).
//!
//! Accepted and without effect here: cache operators and eviction priorities (which cache keeps a line), `L2::64B`,
//! `L2::128B`, `L2::256B` prefetch sizes (what else is fetched). They change speed, never a value.

use super::builder::Builder;
use super::opcode::Opcode;
use super::operand::{Fit, constant};
use crate::instruction::{Atomic, AtomicOp, IntegerType, Op, Strength, Transfer};
use crate::module::ParseError;
use crate::numeric::HalfType;
use crate::race::{Order, Scope};
use crate::syntax::{Instruction, Operand, Scalar, Sort, Space};

use Scalar::{B8, B16, B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, S8, S16, S32, S64, U8, U16, U32, U64};

const MEMORY_TYPES: [Scalar; 14] = [B8, B16, B32, B64, U8, U16, U32, U64, S8, S16, S32, S64, F32, F64];
const SPACES: [(&str, Space); 8] = [
    ("global", Space::Global),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("local", Space::Local),
    ("const", Space::Const),
    ("param", Space::Param),
    ("param::entry", Space::Param),
    ("param::func", Space::Param),
];
pub(super) const SCOPES: [(&str, Scope); 4] =
    [("cta", Scope::Block), ("cluster", Scope::Block), ("gpu", Scope::Device), ("sys", Scope::Device)];
const EVICTIONS: [(&str, ()); 10] = [
    ("L1::evict_normal", ()),
    ("L1::evict_unchanged", ()),
    ("L1::evict_first", ()),
    ("L1::evict_last", ()),
    ("L1::no_allocate", ()),
    ("L2::evict_normal", ()),
    ("L2::evict_first", ()),
    ("L2::evict_last", ()),
    ("evict_first", ()),
    ("evict_last", ()),
];
const PREFETCH_SIZES: [(&str, ()); 3] = [("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())];

pub(super) fn decode(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    match opcode.name() {
        "ld" => load(b, i, opcode),
        "st" => store(b, i, opcode),
        "atom" => atomic(b, i, opcode, true),
        "red" => atomic(b, i, opcode, false),
        "prefetch" => prefetch(b, i, opcode),
        _ => copy_async(b, i, opcode),
    }
}

/// `.weak`, `.volatile`, or an order and its scope.
fn strength(opcode: &mut Opcode<'_>, orders: &[(&str, Order)]) -> Result<Strength, ParseError> {
    if opcode.accept("weak") {
        return Ok(Strength::Weak);
    }
    if opcode.accept("volatile") {
        // Relaxed with system scope (PTX ISA 8.4.1).
        return Ok(Strength::Strong { order: Order::Relaxed, scope: Scope::Device });
    }
    match opcode.choice(orders) {
        Some(order) => Ok(Strength::Strong { order, scope: opcode.one_of(&SCOPES)? }),
        None => Ok(Strength::Weak),
    }
}

/// `{.vec}.type`
fn element(opcode: &mut Opcode<'_>) -> Result<(Scalar, u32), ParseError> {
    let elements = opcode.choice(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1);
    let before = opcode.refuse();
    let scalar = opcode.scalar(&MEMORY_TYPES)?;
    let bytes = scalar.bytes() * elements;
    if bytes > 32 || elements == 8 && scalar.bytes() != 4 {
        return Err(before);
    }
    Ok((scalar, elements))
}

fn load(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let strength = strength(&mut opcode, &[("relaxed", Order::Relaxed), ("acquire", Order::Acquire)])?;
    let space = opcode.choice(&SPACES).unwrap_or(Space::Generic);
    opcode.choice(&[("ca", ()), ("cg", ()), ("cs", ())]);
    let noncoherent = space == Space::Global && strength == Strength::Weak && opcode.accept("nc");
    while opcode.choice(&EVICTIONS).is_some() {}
    opcode.choice(&PREFETCH_SIZES);
    let (scalar, elements) = element(&mut opcode)?;
    opcode.finish()?;
    b.reads_noncoherent |= noncoherent;
    let [d, a] = b.operands(i)?;
    let (base, offset) = b.address(a, space, i.line)?;
    let mut destinations = Vec::new();
    let mut keep = scalar.bits();
    for item in b.vector(d, elements as usize, i.line)? {
        destinations.push(b.destination_fitting(item, scalar, Fit::Wider, i.line)?);
        keep = b.bits_of(item, scalar);
    }
    let signed = scalar.sort() == Sort::Signed;
    let all = u32::MAX >> (32 - scalar.bytes() * elements);
    let used = i.used_bytes.unwrap_or(all);
    if used & !all != 0 || (used != all && strength != Strength::Weak) {
        return Err(opcode.error(format!("the pragma's mask {used:#x} does not fit this load")));
    }
    let transfer = Transfer { space, bytes: scalar.bytes(), signed, keep, elements, strength, offset, used };
    b.emit(Op::Load { transfer, noncoherent }, destinations, vec![base]);
    Ok(())
}

fn store(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let strength = strength(&mut opcode, &[("relaxed", Order::Relaxed), ("release", Order::Release)])?;
    let space = opcode.choice(&SPACES).unwrap_or(Space::Generic);
    opcode.choice(&[("wb", ()), ("cg", ()), ("cs", ())]);
    while opcode.choice(&EVICTIONS).is_some() {}
    let (scalar, elements) = element(&mut opcode)?;
    opcode.finish()?;
    if space == Space::Const {
        return Err(opcode.error("constant memory is read-only"));
    }
    let [a, value] = b.operands(i)?;
    let (base, offset) = b.address(a, space, i.line)?;
    let mut sources = vec![base];
    for item in b.vector(value, elements as usize, i.line)? {
        sources.push(b.source_fitting(item, scalar, Fit::Wider, i.line)?);
    }
    let bytes = scalar.bytes();
    let used = u32::MAX >> (32 - bytes * elements);
    let transfer = Transfer { space, bytes, signed: false, keep: scalar.bits(), elements, strength, offset, used };
    b.emit(Op::Store(transfer), Vec::new(), sources);
    Ok(())
}

const ATOMIC_ORDERS: [(&str, Order); 4] = [
    ("relaxed", Order::Relaxed),
    ("acquire", Order::Acquire),
    ("release", Order::Release),
    ("acq_rel", Order::AcquireRelease),
];

fn atomic(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>, returns: bool) -> Result<(), ParseError> {
    let order = opcode.choice(&ATOMIC_ORDERS).unwrap_or(Order::Relaxed);
    if !returns && matches!(order, Order::Acquire | Order::AcquireRelease) {
        return Err(opcode.error("`red` returns nothing and so cannot acquire"));
    }
    let scope = opcode.choice(&SCOPES).unwrap_or(Scope::Device);
    let space = opcode.choice(&SPACES).unwrap_or(Space::Generic);
    if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
        return Err(opcode.error("atomics work on global and shared memory only"));
    }
    let (op, scalar) = atomic_operation(&mut opcode)?;
    opcode.finish()?;
    let sources = if op == AtomicOp::Compare { 2 } else { 1 };
    let expected = usize::from(returns) + 1 + sources;
    if i.operands.len() != expected || !returns && matches!(op, AtomicOp::Exchange | AtomicOp::Compare) {
        return Err(opcode.error(format!("expected {expected} operands, found {}", i.operands.len())));
    }
    let register = match scalar {
        F16 | Bf16 => B16,
        F16x2 | Bf16x2 => B32,
        other => other,
    };
    let (results, rest) = i.operands.split_at(usize::from(returns));
    let destinations =
        results.iter().map(|operand| b.destination(operand, register, i.line)).collect::<Result<_, _>>()?;
    let (base, offset) = b.address(&rest[0], space, i.line)?;
    let mut slots = vec![base];
    for operand in &rest[1..] {
        slots.push(b.source(operand, register, i.line)?);
    }
    let kind = IntegerType { bits: scalar.bits(), signed: scalar.sort() == Sort::Signed };
    b.emit(Op::Atomic(Atomic { op, kind, space, order, scope, returns, offset }), destinations, slots);
    Ok(())
}

fn atomic_operation(opcode: &mut Opcode<'_>) -> Result<(AtomicOp, Scalar), ParseError> {
    let op = opcode.one_of(&[
        ("add", AtomicOp::Add),
        ("min", AtomicOp::Minimum),
        ("max", AtomicOp::Maximum),
        ("and", AtomicOp::And),
        ("or", AtomicOp::Or),
        ("xor", AtomicOp::Xor),
        ("exch", AtomicOp::Exchange),
        ("cas", AtomicOp::Compare),
        ("inc", AtomicOp::Increment),
        ("dec", AtomicOp::Decrement),
    ])?;
    match op {
        AtomicOp::Add if opcode.accept("noftz") => {
            let scalar = opcode.scalar(&[F16, F16x2, Bf16, Bf16x2])?;
            let kind = if matches!(scalar, F16 | F16x2) { HalfType::F16 } else { HalfType::Bf16 };
            let pair = matches!(scalar, F16x2 | Bf16x2);
            Ok((if pair { AtomicOp::AddHalfPair(kind) } else { AtomicOp::AddHalf(kind) }, scalar))
        }
        AtomicOp::Add => {
            let scalar = opcode.scalar(&[U32, S32, U64, F32, F64])?;
            let op = match scalar {
                F32 => AtomicOp::AddSingle,
                F64 => AtomicOp::AddDouble,
                _ => op,
            };
            Ok((op, scalar))
        }
        AtomicOp::Minimum | AtomicOp::Maximum => Ok((op, opcode.scalar(&[U32, S32, U64, S64])?)),
        AtomicOp::Increment | AtomicOp::Decrement => Ok((op, opcode.scalar(&[U32])?)),
        AtomicOp::Compare => Ok((op, opcode.scalar(&[B16, B32, B64])?)),
        _ => Ok((op, opcode.scalar(&[B32, B64])?)),
    }
}

fn prefetch(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    let space = opcode.choice(&[("global", Space::Global), ("local", Space::Local)]).unwrap_or(Space::Generic);
    opcode.one_of(&[("L1", ()), ("L2", ())])?;
    opcode.finish()?;
    let [a] = b.operands(i)?;
    let (base, offset) = b.address(a, space, i.line)?;
    b.emit(Op::Prefetch { space, offset }, Vec::new(), vec![base]);
    Ok(())
}

fn copy_async(b: &mut Builder<'_>, i: &Instruction, mut opcode: Opcode<'_>) -> Result<(), ParseError> {
    opcode.expect("async")?;
    if opcode.accept("commit_group") {
        opcode.finish()?;
        let [] = b.operands(i)?;
        b.emit(Op::CommitGroup, Vec::new(), Vec::new());
        return Ok(());
    }
    if opcode.accept("wait_group") {
        opcode.finish()?;
        let [count] = b.operands(i)?;
        b.emit(Op::WaitGroup(Some(constant(count, i.line)?)), Vec::new(), Vec::new());
        return Ok(());
    }
    if opcode.accept("wait_all") {
        opcode.finish()?;
        let [] = b.operands(i)?;
        b.emit(Op::WaitGroup(None), Vec::new(), Vec::new());
        return Ok(());
    }
    let all_levels = opcode.one_of(&[("ca", true), ("cg", false)])?;
    opcode.one_of(&[("shared", ()), ("shared::cta", ())])?;
    opcode.expect("global")?;
    opcode.choice(&PREFETCH_SIZES);
    opcode.finish()?;
    if !(3..=4).contains(&i.operands.len()) {
        return Err(opcode.error(format!("expected 3 or 4 operands, found {}", i.operands.len())));
    }
    let (to, to_offset) = b.address(&i.operands[0], Space::Shared, i.line)?;
    let (from, from_offset) = b.address(&i.operands[1], Space::Global, i.line)?;
    let bytes = constant(&i.operands[2], i.line)?;
    if !(bytes == 16 || all_levels && matches!(bytes, 4 | 8)) {
        return Err(opcode.error(format!("this cp.async cannot copy {bytes} bytes")));
    }
    let mut sources = vec![to, from];
    let (mut size, mut ignore) = (false, false);
    if let Some(operand) = i.operands.get(3) {
        let predicate = match operand {
            Operand::Negated(_) => true,
            Operand::Name(name) => b.predicate_named(name, i.line).is_ok(),
            _ => false,
        };
        (size, ignore) = (!predicate, predicate);
        sources.push(if predicate { b.source_predicate(operand, i.line)? } else { b.source(operand, U32, i.line)? });
    }
    b.emit(Op::CopyAsync { bytes, to_offset, from_offset, size, ignore }, Vec::new(), sources);
    Ok(())
}
