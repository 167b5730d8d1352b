// 2:4 sparse matrices: from dense and back, and the metadata's two orders.
//
//   dense: 16-bit [rows, columns], row-major, at most two of each four neighbouring values of a row not zero
//
//   neutral order, as files hold it (columns a multiple of 16):
//     values:   16-bit [rows, columns / 2], row-major: of each group of four the two kept ones, in order
//     metadata: u16 [rows, columns / 16], row-major: four groups per word, group j in bits 4j to 4j + 3 as
//               first | second << 2, the places of the kept values in their group, first < second
//
//          group 0       group 1       group 2       group 3
//        0  a  0  b    c  0  0  0    0  0  0  d    0  0  0  0      values    a b  c 0  0 d  0 0
//                                                                  metadata  0x4c4d: (1,3) (0,1) (0,3) (0,1)
//
//   register order, as mma.sp.m16n8k32 reads it (columns a multiple of 32, rows padded to 32): the values as they
//   are, and one u32 per row and step of 32 columns: u32 [columns / 32, padded rows]. Of each 32 rows and 32
//   columns, word L belongs to lane L of a warp, L = 4 g + t:
//
//                      columns 0-15    columns 16-31
//       rows 0-7       t = 0, low      t = 1, low       g = row % 8; low and high half of the word
//       rows 8-15      t = 0, high     t = 1, high
//       rows 16-23     t = 2, low      t = 3, low       PTX ISA 9.7.14.6.2.1: t = 0 and 1 serve a product with
//       rows 24-31     t = 2, high     t = 3, high      selector 0, t = 2 and 3 one with selector 1
//
//     Rows beyond the matrix are well formed: each of their groups keeps places 0 and 1.
//
// NaN is not zero; -0 is. A group with fewer than two nonzeros keeps its lowest-numbered zeros besides; they are
// stored as +0, so that a matrix has one packed form.
//
// One thread per 16 columns, 32 bytes in and 18 out or the reverse; per 32 columns and row pair for metadata. All of
// it is bound by memory: a 12288 x 3072 matrix moves 118 MB, 76 us at an A100's 1.56 TB/s, 35 us at an H100's 3.35.

#include "common.cuh"

constexpr int THREADS = 256;

// Columns per u16 of metadata.
constexpr int WORD_COLUMNS = 16;

// Metadata of four groups that keep places 0 and 1.
constexpr uint32_t FILLER = 0x4444u;

// Every bit of a 16-bit float but the sign.
constexpr uint64_t MAGNITUDE = 0x7fffu;

struct Pack24Params {
    uint16_t* dense;     // 16-bit [rows, columns], rows dense_stride values apart
    uint16_t* values;    // 16-bit [rows, columns / 2]
    uint16_t* metadata;  // u16 [rows, columns / 16]
    uint32_t* registers; // u32 [columns / 32, padded rows]
    unsigned long long* first_bad;  // row * (columns / 4) + group, the first that is refused; all ones if none
    int64_t dense_stride;
    int32_t rows;
    int32_t columns;
    int32_t dense_aligned;  // whether rows of `dense` begin on 16 bytes
    int32_t padding;
};
static_assert(sizeof(Pack24Params) == 64, "Params of src/pack24.rs");

// 16 columns of a dense row, four values in each word.
struct Columns16 {
    uint64_t groups[4];
};

__device__ __forceinline__ Columns16 load_columns(const uint16_t* from, bool aligned) {
    Columns16 columns;
    if (aligned) {
        const uint4 low = reinterpret_cast<const uint4*>(from)[0];
        const uint4 high = reinterpret_cast<const uint4*>(from)[1];
        columns.groups[0] = low.x | static_cast<uint64_t>(low.y) << 32;
        columns.groups[1] = low.z | static_cast<uint64_t>(low.w) << 32;
        columns.groups[2] = high.x | static_cast<uint64_t>(high.y) << 32;
        columns.groups[3] = high.z | static_cast<uint64_t>(high.w) << 32;
    } else {
#pragma unroll
        for (int group = 0; group < 4; ++group) {
            columns.groups[group] = 0;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                columns.groups[group] |= static_cast<uint64_t>(from[group * 4 + i]) << (16 * i);
            }
        }
    }
    return columns;
}

__device__ __forceinline__ void store_columns(uint16_t* to, const Columns16& columns, bool aligned) {
    if (aligned) {
        const auto low = [&](int group) { return static_cast<uint32_t>(columns.groups[group]); };
        const auto high = [&](int group) { return static_cast<uint32_t>(columns.groups[group] >> 32); };
        reinterpret_cast<uint4*>(to)[0] = make_uint4(low(0), high(0), low(1), high(1));
        reinterpret_cast<uint4*>(to)[1] = make_uint4(low(2), high(2), low(3), high(3));
    } else {
#pragma unroll
        for (int i = 0; i < WORD_COLUMNS; ++i) {
            to[i] = static_cast<uint16_t>(columns.groups[i / 4] >> (16 * (i % 4)));
        }
    }
}

// Number of this thread's 16 columns in row-major order; past the end for the last block's spare threads.
__device__ __forceinline__ int64_t word_number() { return static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; }

__device__ __forceinline__ int64_t words(const Pack24Params& p) {
    return static_cast<int64_t>(p.rows) * (p.columns / WORD_COLUMNS);
}

// Group `group` of word `word`, counted over the whole matrix. An integer minimum does not depend on order.
__device__ __forceinline__ void refuse(const Pack24Params& p, int64_t word, int group) {
    atomicMin(p.first_bad, static_cast<unsigned long long>(word * 4 + group));
}

// dense -> values, metadata.
extern "C" __global__ void __launch_bounds__(THREADS) pack24_compress(const __grid_constant__ Pack24Params p) {
    const int64_t word = word_number();
    if (word >= words(p)) return;
    const int row_words = p.columns / WORD_COLUMNS;
    const uint16_t* from = p.dense + word / row_words * p.dense_stride + word % row_words * WORD_COLUMNS;
    const Columns16 columns = load_columns(from, p.dense_aligned);
    uint32_t kept_pairs[4];
    uint32_t metadata = 0;
#pragma unroll
    for (int group = 0; group < 4; ++group) {
        const uint64_t four = columns.groups[group];
        uint32_t nonzero = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) nonzero |= (four >> (16 * i) & MAGNITUDE) != 0 ? 1u << i : 0u;
        if (__popc(nonzero) > 2) refuse(p, word, group);
        // x | (x + 1) sets the lowest bit that is 0.
        uint32_t kept = nonzero;
#pragma unroll
        for (int i = 0; i < 2; ++i) kept |= __popc(kept) < 2 ? kept + 1 : 0;
        const int first = __ffs(kept) - 1;
        const int second = 31 - __clz(kept);
        const auto value = [&](int place) {
            return nonzero >> place & 1 ? static_cast<uint32_t>(four >> (16 * place)) & 0xffffu : 0u;
        };
        kept_pairs[group] = value(first) | value(second) << 16;
        metadata |= static_cast<uint32_t>(first | second << 2) << (4 * group);
    }
    reinterpret_cast<uint4*>(p.values)[word] =
        make_uint4(kept_pairs[0], kept_pairs[1], kept_pairs[2], kept_pairs[3]);
    p.metadata[word] = static_cast<uint16_t>(metadata);
}

// Refuses metadata with first >= second in a group.
extern "C" __global__ void __launch_bounds__(THREADS) pack24_check(const __grid_constant__ Pack24Params p) {
    const int64_t word = word_number();
    if (word >= words(p)) return;
    const uint32_t metadata = p.metadata[word];
#pragma unroll
    for (int group = 0; group < 4; ++group) {
        const uint32_t places = metadata >> (4 * group);
        if ((places & 3) >= (places >> 2 & 3)) refuse(p, word, group);
    }
}

// values, metadata -> dense.
extern "C" __global__ void __launch_bounds__(THREADS) pack24_decompress(const __grid_constant__ Pack24Params p) {
    const int64_t word = word_number();
    if (word >= words(p)) return;
    const int row_words = p.columns / WORD_COLUMNS;
    const uint4 kept = reinterpret_cast<const uint4*>(p.values)[word];
    const uint32_t kept_pairs[4] = {kept.x, kept.y, kept.z, kept.w};
    const uint32_t metadata = p.metadata[word];
    Columns16 columns;
#pragma unroll
    for (int group = 0; group < 4; ++group) {
        const uint32_t places = metadata >> (4 * group);
        columns.groups[group] = static_cast<uint64_t>(kept_pairs[group] & 0xffffu) << (16 * (places & 3)) |
                                static_cast<uint64_t>(kept_pairs[group] >> 16) << (16 * (places >> 2 & 3));
    }
    uint16_t* to = p.dense + word / row_words * p.dense_stride + word % row_words * WORD_COLUMNS;
    store_columns(to, columns, p.dense_aligned);
}

// A warp serves 32 rows and a step of 32 columns; the eight warps of a block take neighbouring steps, so that
// together they use whole 32-byte sectors of a row's metadata. Grid: [steps / 8, padded rows / 32].
struct RegisterWord {
    int step;
    int row;      // of the low half; the high half's is 8 further
    int column;   // in words of 16 columns
    int64_t place;

    __device__ __forceinline__ explicit RegisterWord(const Pack24Params& p) {
        const int lane = threadIdx.x % WARP;
        step = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
        row = blockIdx.y * 32 + lane % 4 / 2 * 16 + lane / 4;
        column = step * 2 + lane % 2;
        place = (static_cast<int64_t>(step) * gridDim.y + blockIdx.y) * 32 + lane;
    }
};

// metadata -> registers.
extern "C" __global__ void __launch_bounds__(THREADS) pack24_to_registers(const __grid_constant__ Pack24Params p) {
    const RegisterWord word(p);
    if (word.step >= p.columns / 32) return;
    const int64_t row_words = p.columns / WORD_COLUMNS;
    const auto half = [&](int row) -> uint32_t {
        return row < p.rows ? p.metadata[row * row_words + word.column] : FILLER;
    };
    p.registers[word.place] = half(word.row) | half(word.row + 8) << 16;
}

// registers -> metadata.
extern "C" __global__ void __launch_bounds__(THREADS) pack24_from_registers(const __grid_constant__ Pack24Params p) {
    const RegisterWord word(p);
    if (word.step >= p.columns / 32) return;
    const int64_t row_words = p.columns / WORD_COLUMNS;
    const uint32_t both = p.registers[word.place];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = word.row + half * 8;
        if (row < p.rows) p.metadata[row * row_words + word.column] = static_cast<uint16_t>(both >> (16 * half));
    }
}
