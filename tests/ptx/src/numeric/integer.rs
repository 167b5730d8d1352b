//! Integer and bit operations that Rust has no single method for (PTX ISA 9.7.1, 9.7.8).

/// Selection of `prmt` (PTX ISA 9.7.9.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PermuteMode {
    /// No mode: four selectors of four bits each, bit 3 replicates the sign of the selected byte.
    #[default]
    Index,
    /// `.f4e`: forward 4 extract.
    Forward4,
    /// `.b4e`: backward 4 extract.
    Backward4,
    /// `.rc8`: replicate 8.
    Replicate8,
    /// `.ecl`: edge clamp left.
    EdgeLeft,
    /// `.ecr`: edge clamp right.
    EdgeRight,
    /// `.rc16`: replicate 16.
    Replicate16,
}

/// `prmt.b32 d, a, b, c`: bytes of {b, a} picked by `selector`.
pub fn permute(a: u32, b: u32, selector: u32, mode: PermuteMode) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let place = selector as usize & 3;
    let picked = |place: usize| {
        let nibble = selector >> (4 * place) & 0xf;
        let byte = bytes[nibble as usize & 7];
        if nibble & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
    };
    let chosen = |source: fn(usize, usize) -> usize| std::array::from_fn(|byte| bytes[source(byte, place)]);
    u32::from_le_bytes(match mode {
        PermuteMode::Index => std::array::from_fn(picked),
        PermuteMode::Forward4 => chosen(|byte, place| place + byte),
        PermuteMode::Backward4 => chosen(|byte, place| (8 + place - byte) % 8),
        PermuteMode::Replicate8 => chosen(|_, place| place),
        PermuteMode::EdgeLeft => chosen(|byte, place| byte.max(place)),
        PermuteMode::EdgeRight => chosen(|byte, place| byte.min(place)),
        PermuteMode::Replicate16 => chosen(|byte, place| 2 * (place & 1) + (byte & 1)),
    })
}

/// `bfe.u32 d, a, position, length`: the low eight bits of position and length count, bits beyond the value are 0.
pub fn bfe_u32(a: u32, position: u32, length: u32) -> u32 {
    bfe_u64(a.into(), position, length) as u32
}

/// `bfe.s32`: bits beyond the field are copies of its top bit, or of the value's where the field reaches beyond it.
pub fn bfe_s32(a: u32, position: u32, length: u32) -> u32 {
    // Within 64 bits the sign extension stands in for the bits beyond the value.
    bfe_s64(a as i32 as u64, position, length) as u32
}

/// `bfe.u64`.
pub fn bfe_u64(a: u64, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    a.checked_shr(position).unwrap_or(0) & low_bits(length)
}

/// `bfe.s64`.
pub fn bfe_s64(a: u64, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let field = a as i64 >> position.min(63);
    let unused = 64u32.saturating_sub(length);
    (field << unused >> unused) as u64
}

/// `bfi.b32 f, a, b, position, length`: the low bits of `a` inserted into `b`.
pub fn bfi_32(a: u32, b: u32, position: u32, length: u32) -> u32 {
    bfi_64(a.into(), b.into(), position, length) as u32
}

/// `bfi.b64`.
pub fn bfi_64(a: u64, b: u64, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let mask = low_bits(length).checked_shl(position).unwrap_or(0);
    b & !mask | a.checked_shl(position).unwrap_or(0) & mask
}

fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// `bfind{.shiftamt}.{u,s}{bits}`: place of the most significant non-sign bit, 0xffffffff if none. `bits` is 32
/// or 64. With `.shiftamt` the left shift that brings that bit to the top.
pub fn bfind(a: u64, bits: u32, signed: bool, shift_amount: bool) -> u32 {
    let a = if signed {
        let value = sign_extend(a, bits);
        if value < 0 { !value as u64 } else { value as u64 }
    } else {
        a & low_bits(bits)
    };
    match a.checked_ilog2() {
        None => u32::MAX,
        Some(place) if shift_amount => bits - 1 - place,
        Some(place) => place,
    }
}

/// `brev.b32`.
pub fn brev_32(a: u32) -> u32 {
    a.reverse_bits()
}

/// `brev.b64`.
pub fn brev_64(a: u64) -> u64 {
    a.reverse_bits()
}

/// `lop3.b32 d, a, b, c, table`: bit (4 a + 2 b + c) of the table, for each bit place.
pub fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut d = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let literal = |value: u32, place: u32| if row >> place & 1 == 1 { value } else { !value };
            d |= literal(a, 2) & literal(b, 1) & literal(c, 0);
        }
    }
    d
}

/// `shf.l.{clamp,wrap}.b32 d, a, b, c`: the upper half of {b, a} << c.
pub fn funnel_left(a: u32, b: u32, c: u32, wrap: bool) -> u32 {
    let pair = u64::from(b) << 32 | u64::from(a);
    (pair << funnel_amount(c, wrap) >> 32) as u32
}

/// `shf.r.{clamp,wrap}.b32 d, a, b, c`: the lower half of {b, a} >> c.
pub fn funnel_right(a: u32, b: u32, c: u32, wrap: bool) -> u32 {
    let pair = u64::from(b) << 32 | u64::from(a);
    (pair >> funnel_amount(c, wrap)) as u32
}

fn funnel_amount(c: u32, wrap: bool) -> u32 {
    if wrap { c & 31 } else { c.min(32) }
}

/// `shl.b{bits}`: amounts above the width give 0. `bits` is 16, 32 or 64.
pub fn shift_left(a: u64, amount: u32, bits: u32) -> u64 {
    a.checked_shl(amount).unwrap_or(0) & low_bits(bits)
}

/// `shr.{u,s}{bits}`: amounts above the width give 0, or the sign in every bit. `bits` is 16, 32 or 64. The result
/// is in the low bits, zeros above.
pub fn shift_right(a: u64, amount: u32, bits: u32, signed: bool) -> u64 {
    if signed {
        (sign_extend(a, bits) >> amount.min(63)) as u64 & low_bits(bits)
    } else {
        (a & low_bits(bits)).checked_shr(amount).unwrap_or(0)
    }
}

fn sign_extend(a: u64, bits: u32) -> i64 {
    let unused = 64 - bits;
    (a << unused) as i64 >> unused
}

/// `dp4a d, a, b, c`: c plus the sum of four byte products, modulo 2^32.
pub fn dot_4(a: u32, a_signed: bool, b: u32, b_signed: bool, c: u32) -> u32 {
    (0..4).fold(c, |sum, byte| {
        let product = byte_of(a, byte, a_signed) * byte_of(b, byte, b_signed);
        sum.wrapping_add(product as u32)
    })
}

/// `dp2a.{lo,hi} d, a, b, c`: c plus two products of a 16-bit half of `a` with a byte of the chosen half of `b`.
pub fn dot_2(a: u32, a_signed: bool, b: u32, b_signed: bool, high: bool, c: u32) -> u32 {
    (0..2).fold(c, |sum, place| {
        let half = (a >> (16 * place)) as u16;
        let half = if a_signed { i32::from(half as i16) } else { i32::from(half) };
        let product = half * byte_of(b, place + 2 * u32::from(high), b_signed);
        sum.wrapping_add(product as u32)
    })
}

fn byte_of(a: u32, place: u32, signed: bool) -> i32 {
    let byte = (a >> (8 * place)) as u8;
    if signed { i32::from(byte as i8) } else { i32::from(byte) }
}

/// `mul.hi.{u,s}{bits}`: the upper `bits` of the double-width product. `bits` is 16, 32 or 64; operands and result
/// are in the low bits, zeros above.
pub fn mul_hi(a: u64, b: u64, bits: u32, signed: bool) -> u64 {
    let product = if signed {
        i128::from(sign_extend(a, bits)) * i128::from(sign_extend(b, bits))
    } else {
        (u128::from(a & low_bits(bits)) * u128::from(b & low_bits(bits))) as i128
    };
    (product >> bits) as u64 & low_bits(bits)
}
