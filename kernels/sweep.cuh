// The OBS column sweep of SparseGPT on H = R R^T: removes or rounds weights column by column and compensates in
// the columns to the right. R upper triangular, U = R^-1 only as the inverses U_BB of R's diagonal blocks.
//
// With Q the finished weights and D = W - Q, column i at its turn costs the error e_i = (w_i - q_i) R_ii, and
// w_j -= e_i U_ij for all j > i. Summed over finished columns that is W_B + P_B U_BB with P = D R, so per block B
// of at most 128 columns (rows are independent but for the selection):
//
//   sweep_update     P_B := W_B + P_B U_BB, the block's weights with all earlier columns compensated; histogram of
//                    the leading bits of the scores |w| R_ii                               (3xTF32)
//   sweep_narrow_*   unstructured: the next bits of the score at which the exact count of the segment is reached
//   sweep_columns_*  marks, then the column sweep inside B; W_B := Q_B, P_B := D_B
//   sweep_trailing   P[:, rest] += D_B R[B, rest]                                          (3xTF32)
//
// One buffer `change` is thus P right of the block, the effective weights inside it, D left of it:
//
//               d, padded to whole tiles
//        +---------+-----+--------------------+
//   rows |    D    | W+PU|         P          |   f32 [rows padded to 128, d padded to 128], all 0 at first
//        +---------+-----+--------------------+
//          finished   B        rest
//
// Blocks shorter than 128 columns share a tile: after each, sweep_trailing updates the rest of the tile only, and
// after the last one everything right of the tile at depth 128. Rows are cut into row tiles of 32, each within one
// segment (the rows of one Linear: own count and own rounding).
//
// Cost, 3072 x 3072 in 24 blocks, on H100 (132 SMs at 1.75 GHz; an SM holds one row tile) and A100:
//   columns   per warp, row and turn of 4 columns: 16 FMA for the columns behind, 14 operations for the triangle of
//             the 4, 4 shuffles; 4 loads of U are shared by 4 rows. 32 rows take 32 turns * 8 warps * (4 * 34 + 8)
//             issues / 4 schedulers = 9,200 cycles; the shared-memory pipe 8,200 (16 shuffles and 16 wavefronts of
//             loads per warp and turn); the chain of one row is 32 turns * 75 cycles and hides behind the other
//             rows. About 5 us a block, 0.13 ms in all. 2:4 ranks in 30 operations more: 0.24 ms.
//   trailing  3072^3 multiply-adds, times 3 for the split and halved for the triangle: 87 GFLOP of TF32, 0.3 ms at
//             300 TFLOP/s (mma.sync on H100), 0.6 ms at 150 (A100). P is read and written 24 / 2 times: 0.9 GB,
//             0.3 ms at 3.3 TB/s where the 50 MB second-level cache keeps none of it.
//   launches  5 per block unstructured, 3 with N:M or a given mask: 119 or 71, about 2.5 us apart.
//   Together 0.8 to 1.2 ms; the floor is the trailing update.
#pragma once

#include "common.cuh"

// Columns of the largest block: one tile of the factor.
constexpr int BLOCK = TRIANGLE_TILE;
// Consecutive columns of a lane, so that a warp holds a row of the block and a group of 2:4 lies in one lane.
constexpr int LANE_COLUMNS = BLOCK / WARP;
// Rows of a warp: they share the loads of U and hide each other's latency; 4 keep 32 registers of state.
constexpr int WARP_ROWS = 4;
constexpr int WARPS = 8;
constexpr int THREADS = WARPS * WARP;
// Rows of a row tile: 96 tiles at 3072 rows, so that one wave of blocks fills an H100.
constexpr int TILE_ROWS = WARPS * WARP_ROWS;

// Depth, and width of the right operand, of a tensor-core step in tf32.
constexpr int STEP = 8;

// Scores are not negative, so their 31 bits without the sign are ordered as they are. The selection looks at 11, 10
// and 10 bits: 2048 bins are what a block scans in two loads a thread, and three passes end at a single value.
constexpr int TOP_SHIFT = 20;
constexpr int MIDDLE_SHIFT = 10;
constexpr int TOP_BINS = 2048;
constexpr int LOW_BINS = 1024;
// Counters of one segment: top, middle and low bits.
constexpr int HISTOGRAM = TOP_BINS + 2 * LOW_BINS;

// Rounding dtypes: `Rounding` of src/sweep.rs.
constexpr uint32_t ROUNDING_F16 = 1;
constexpr uint32_t ROUNDING_BF16 = 2;

// Rows that one block of threads handles: `RowTile` of src/sweep.rs.
struct RowTile {
    uint32_t first_row;
    uint32_t rows;
    uint32_t segment;
    // Number of the segment's first row tile.
    uint32_t segment_tile;
    uint32_t rounding;
};
static_assert(sizeof(RowTile) == 20);

// Scores whose leading bits are below `prefix` fall, and the `rest` smallest of those that begin with it.
struct Cut {
    uint32_t prefix;
    uint32_t rest;
};
static_assert(sizeof(Cut) == 8);

struct SweepParams {
    float* weight;              // W: f32 [rows, columns], row-major: dense right of the block, finished left of it
    float* change;              // f32 [rows padded, stride]: see the picture above
    uint8_t* mask;              // u8 [rows, columns], 1 = kept
    const float* factor;        // R^T: packed lower triangle, f32
    const float* inverses;      // U_BB: f32 [tiles, 128, 128] row-major, upper triangular, 0 below the diagonal
    const RowTile* row_tiles;   // [row tiles]
    const uint32_t* counts;     // weights to remove: u32 [segments, blocks]; null without unstructured selection
    uint32_t* histograms;       // u32 [2, segments, HISTOGRAM]: blocks take turns with the two
    Cut* cuts;                  // [2, segments]: after the top bits, after the middle bits
    uint16_t* low_counts;       // u16 [row tiles, LOW_BINS]: each row tile's own part of the low histogram
    double* loss;               // f64 [row tiles, WARPS]: squared errors so far
    uint64_t stride;            // columns padded to whole tiles
    uint32_t columns;
    uint32_t segments;
    uint32_t blocks;
    uint32_t block;             // number of this block
    uint32_t start;             // its first column
    uint32_t width;             // its columns
    uint32_t keep;              // N of N:M
    uint32_t of;                // M of N:M
};
static_assert(sizeof(SweepParams) == 128);

// ---- small parts ---------------------------------------------------------------------------------------------

// Order of a weight for removal: the bits of |w| R_ii.
__device__ __forceinline__ uint32_t score(float weight, float pivot) {
    return __float_as_uint(weight * pivot) & 0x7fffffffu;
}

// R_ii of column `column` of the block, 0 beyond the block.
__device__ __forceinline__ float pivot_at(const SweepParams& p, int column) {
    const int place = p.start % BLOCK + column;
    const float* tile = p.factor + triangle_tile(p.start / BLOCK, p.start / BLOCK);
    return column < static_cast<int>(p.width) ? tile[place * BLOCK + place] : 0.0f;
}

// U_BB, its rows 128 apart.
__device__ __forceinline__ const float* inverse_of(const SweepParams& p) {
    const size_t place = p.start % BLOCK;
    return p.inverses + static_cast<size_t>(p.start / BLOCK) * BLOCK * BLOCK + place * BLOCK + place;
}

__device__ __forceinline__ uint32_t* histogram_of(const SweepParams& p, uint32_t block, uint32_t segment) {
    return p.histograms + (static_cast<size_t>(block % 2) * p.segments + segment) * HISTOGRAM;
}

struct Found {
    uint32_t bin;     // where the count is reached
    uint32_t rest;    // how many of this bin fall
    uint32_t inside;  // of how many
};

// The bin that holds the `rest`-th smallest, the first one for rest = 0. All threads call it together, once.
template <int BINS>
__device__ Found find_bin(const uint32_t* histogram, uint32_t rest) {
    constexpr int OWN = BINS / THREADS;
    __shared__ uint32_t warp_totals[WARPS];
    __shared__ Found found;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint32_t own[OWN], sum = 0;
#pragma unroll
    for (int i = 0; i < OWN; ++i) {
        own[i] = histogram[threadIdx.x * OWN + i];
        sum += own[i];
    }
    uint32_t before = sum;
#pragma unroll
    for (int offset = 1; offset < WARP; offset *= 2) {
        const uint32_t left = __shfl_up_sync(ALL_LANES, before, offset);
        if (lane >= offset) before += left;
    }
    if (lane == WARP - 1) warp_totals[warp] = before;
    before -= sum;
    __syncthreads();
    for (int i = 0; i < warp; ++i) before += warp_totals[i];
    if ((rest > before || threadIdx.x == 0) && rest <= before + sum) {
        // From the last bin to the first at which the count is still reached.
        uint32_t end = before + sum;
#pragma unroll
        for (int i = OWN - 1; i >= 0; --i) {
            const uint32_t begin = end - own[i];
            if (rest <= end) found = {threadIdx.x * OWN + i, rest - begin, own[i]};
            end = begin;
        }
    }
    __syncthreads();
    return found;
}

// Scores of a warp's four rows, as sweep_columns holds them: lane L has columns 4L.. of the block.
struct LaneWeights {
    float weight[WARP_ROWS][LANE_COLUMNS];
    float pivot[LANE_COLUMNS];
};

// Rows from `first` on that do not exist and columns beyond the block are 0.
__device__ __forceinline__ void load_effective(LaneWeights& own, const SweepParams& p, const RowTile& tile, int first) {
    const int column = threadIdx.x % WARP * LANE_COLUMNS;
#pragma unroll
    for (int c = 0; c < LANE_COLUMNS; ++c) own.pivot[c] = pivot_at(p, column + c);
#pragma unroll
    for (int r = 0; r < WARP_ROWS; ++r) {
        float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (first + r < static_cast<int>(tile.rows) && column < static_cast<int>(p.width)) {
            const size_t row = tile.first_row + first + r;
            quad = *reinterpret_cast<const float4*>(p.change + row * p.stride + p.start + column);
        }
        own.weight[r][0] = quad.x, own.weight[r][1] = quad.y, own.weight[r][2] = quad.z, own.weight[r][3] = quad.w;
    }
}
