//! Integer and bit operations, against the bit-by-bit definitions of PTX ISA.

use obsdiff_ptx::numeric::{
    PermuteMode, bfe_s32, bfe_s64, bfe_u32, bfe_u64, bfi_32, bfi_64, bfind, brev_32, brev_64, dot_2, dot_4,
    funnel_left, funnel_right, lop3, mul_hi, permute, shift_left, shift_right,
};

use crate::Stream;

const WORDS: [u64; 8] =
    [0, 1, u64::MAX, 1 << 63, 1 << 31, 0x8000_0001_7fff_ffff, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

fn bit(a: u64, place: u32) -> u64 {
    a >> place & 1
}

/// The pseudo-code of `bfe`.
fn bfe(a: u64, position: u32, length: u32, width: u32, signed: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let sign = if signed && length > 0 { bit(a, (position + length - 1).min(width - 1)) } else { 0 };
    (0..width).fold(0, |d, place| {
        let inside = place < length && position + place < width;
        d | (if inside { bit(a, position + place) } else { sign }) << place
    })
}

/// The pseudo-code of `bfi`.
fn bfi(a: u64, b: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    (0..length)
        .filter(|place| position + place < width)
        .fold(b, |f, place| f & !(1 << (position + place)) | bit(a, place) << (position + place))
}

#[test]
fn bit_fields_follow_their_definition() {
    let amounts: Vec<u32> = (0..70).chain([127, 128, 255, 256, 257, 0xffff_ff03]).collect();
    for a in WORDS {
        for &position in &amounts {
            for &length in &amounts {
                let (low, what) = (a as u32, format!("{a:#x} {position} {length}"));
                let field = |signed| bfe(low.into(), position, length, 32, signed) as u32;
                assert_eq!(bfe_u32(low, position, length), field(false), "{what}");
                assert_eq!(bfe_s32(low, position, length), field(true), "{what}");
                assert_eq!(bfe_u64(a, position, length), bfe(a, position, length, 64, false), "{what}");
                assert_eq!(bfe_s64(a, position, length), bfe(a, position, length, 64, true), "{what}");
                for b in [0, u64::MAX, 0x5a5a_5a5a_1234_8765] {
                    let inserted = bfi(low.into(), u64::from(b as u32), position, length, 32) as u32;
                    assert_eq!(bfi_32(low, b as u32, position, length), inserted, "{what}");
                    assert_eq!(bfi_64(a, b, position, length), bfi(a, b, position, length, 64), "{what}");
                }
            }
        }
    }
}

#[test]
fn the_leading_bit_is_found() {
    for place in 0..64 {
        for rest in [0, (1u64 << place) - 1] {
            let a = 1 << place | rest;
            assert_eq!(bfind(a, 64, false, false), place);
            assert_eq!(bfind(a, 64, false, true), 63 - place);
            if place < 63 {
                assert_eq!(bfind(a, 64, true, false), place);
                assert_eq!(bfind(!a, 64, true, false), place);
            }
            if place < 31 {
                assert_eq!(bfind(!a, 32, true, true), 30 - place + 1);
            }
        }
    }
    for (a, bits, signed) in [(0, 32, false), (0, 64, true), (u64::MAX, 64, true), (0xffff_ffff, 32, true)] {
        assert_eq!(bfind(a, bits, signed, false), u32::MAX, "{a:#x}");
        assert_eq!(bfind(a, bits, signed, true), u32::MAX, "{a:#x}");
    }
    // Bits above a 32-bit operand do not count.
    assert_eq!(bfind(1 << 40 | 4, 32, false, false), 2);
}

#[test]
fn bytes_are_permuted_in_every_mode() {
    let (a, b) = (0x8321_1000, 0x7654_c5a4u32);
    let bytes = [0x00, 0x10, 0x21, 0x83, 0xa4, 0xc5, 0x54, 0x76];
    let mut stream = Stream(30);
    for selector in (0..0x1_0000).chain((0..1000).map(|_| stream.bits_32())) {
        let expected: [u8; 4] = std::array::from_fn(|place| {
            let nibble = selector >> (4 * place) & 0xf;
            let byte: u8 = bytes[nibble as usize % 8];
            if nibble < 8 { byte } else { (byte >> 7) * 0xff }
        });
        assert_eq!(permute(a, b, selector, PermuteMode::Index), u32::from_le_bytes(expected), "{selector:#x}");
    }
    // The table of PTX ISA: for selectors 0 to 3, the sources of bytes 3, 2, 1, 0.
    let table = [
        (PermuteMode::Forward4, [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        (PermuteMode::Backward4, [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        (PermuteMode::Replicate8, [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        (PermuteMode::EdgeLeft, [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        (PermuteMode::EdgeRight, [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        (PermuteMode::Replicate16, [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    for (mode, rows) in table {
        for (selector, sources) in rows.into_iter().enumerate() {
            let expected = u32::from_be_bytes(sources.map(|source: usize| bytes[source]));
            // Only two bits of the selector count.
            for high in [0, 0xffff_fffc] {
                assert_eq!(permute(a, b, selector as u32 | high, mode), expected, "{mode:?} {selector}");
            }
        }
    }
}

#[test]
fn three_input_logic_reads_its_table() {
    let (a, b, c) = (0xf0f0_1234, 0xcccc_5678, 0xaaaa_9abc);
    for table in 0..=u8::MAX {
        let d = lop3(a, b, c, table);
        for place in 0..32 {
            let row = bit(a.into(), place) << 2 | bit(b.into(), place) << 1 | bit(c.into(), place);
            assert_eq!(bit(d.into(), place), bit(table.into(), row as u32), "{table:#x} bit {place}");
        }
    }
    assert_eq!(lop3(a, b, c, 0x96), a ^ b ^ c);
    assert_eq!(lop3(a, b, c, 0xe8), a & b | b & c | a & c);
    assert_eq!(lop3(a, b, c, 0x40), a & b & !c);
}

#[test]
fn shifts_saturate_or_wrap_their_amount() {
    for a in WORDS {
        let (low, high) = (a as u32, (a >> 32) as u32);
        for amount in (0..70).chain([128, 0xffff_ffe1, u32::MAX]) {
            let expected_left = |bits: u32| if amount < bits { a << amount & (u64::MAX >> (64 - bits)) } else { 0 };
            for bits in [16, 32, 64] {
                assert_eq!(shift_left(a, amount, bits), expected_left(bits), "{a:#x} << {amount} of {bits}");
            }
            let amount_16 = amount.min(16);
            assert_eq!(shift_right(a, amount, 16, false), u64::from(u32::from(a as u16) >> amount_16));
            let signed_16 = i32::from(a as i16) >> amount_16;
            assert_eq!(shift_right(a, amount, 16, true), u64::from(signed_16 as u16), "{a:#x} >> {amount}");
            assert_eq!(shift_right(a, amount, 32, false), u64::from(low) >> amount.min(32));
            assert_eq!(shift_right(a, amount, 32, true), u64::from((low as i32 >> amount.min(31)) as u32));
            assert_eq!(shift_right(a, amount, 64, true), (a as i64 >> amount.min(63)) as u64);
            for (wrap, places) in [(true, amount % 32), (false, amount.min(32))] {
                let left = if places == 32 { low } else { high << places | (u64::from(low) >> (32 - places)) as u32 };
                assert_eq!(funnel_left(low, high, amount, wrap), left, "{a:#x} {amount} {wrap}");
                let right = if places == 32 { high } else { low >> places | (u64::from(high) << (32 - places)) as u32 };
                assert_eq!(funnel_right(low, high, amount, wrap), right, "{a:#x} {amount} {wrap}");
            }
        }
    }
}

#[test]
fn bits_reverse() {
    for a in WORDS {
        let reversed = (0..64).fold(0, |d, place| d | bit(a, place) << (63 - place));
        assert_eq!(brev_64(a), reversed);
        assert_eq!(brev_32(a as u32), brev_64(a << 32) as u32);
    }
}

#[test]
fn packed_dot_products_mix_signs() {
    let (a, b) = (0xff80_7f01u32, 0x80ff_027fu32);
    for (a_signed, b_signed) in [(false, false), (false, true), (true, false), (true, true)] {
        let read = |byte: u8, signed: bool| if signed { i64::from(byte as i8) } else { i64::from(byte) };
        let products: i64 =
            std::iter::zip(a.to_le_bytes(), b.to_le_bytes()).map(|(x, y)| read(x, a_signed) * read(y, b_signed)).sum();
        for c in [0, 5, 0xffff_fff0, 0x8000_0000] {
            assert_eq!(dot_4(a, a_signed, b, b_signed, c), (i64::from(c) + products) as u32);
            for high in [false, true] {
                let half = |place: usize| {
                    let half = (a >> (16 * place)) as u16;
                    if a_signed { i64::from(half as i16) } else { i64::from(half) }
                };
                let byte = |place: usize| read(b.to_le_bytes()[place + 2 * usize::from(high)], b_signed);
                let sum = i64::from(c) + half(0) * byte(0) + half(1) * byte(1);
                assert_eq!(dot_2(a, a_signed, b, b_signed, high, c), sum as u32);
            }
        }
    }
}

#[test]
fn high_products_are_exact_in_every_width() {
    for a in WORDS {
        for b in WORDS {
            assert_eq!(mul_hi(a, b, 16, false), u64::from((u32::from(a as u16) * u32::from(b as u16)) >> 16));
            let signed_16 = (i32::from(a as i16) * i32::from(b as i16)) >> 16;
            assert_eq!(mul_hi(a, b, 16, true), u64::from(signed_16 as u16));
            assert_eq!(mul_hi(a, b, 32, false), (u64::from(a as u32) * u64::from(b as u32)) >> 32);
            let signed_32 = (i64::from(a as i32) * i64::from(b as i32)) >> 32;
            assert_eq!(mul_hi(a, b, 32, true), u64::from(signed_32 as u32));
            assert_eq!(mul_hi(a, b, 64, false), ((u128::from(a) * u128::from(b)) >> 64) as u64);
            let signed_64 = (i128::from(a as i64) * i128::from(b as i64)) >> 64;
            assert_eq!(mul_hi(a, b, 64, true), signed_64 as u64);
        }
    }
}
