// What a block of columns begins with: its weights with all earlier columns compensated, and the cut at which the
// exact count of an unstructured selection is reached (see sweep.cuh).
//
//   sweep_dead           before the first block: W[:, dead] = 0
//   sweep_update         W_B + P_B U_BB, f32 [32, 128] per block of threads, and how often each value of the scores'
//                        top 11 bits occurs
//   sweep_narrow_middle  the bin of the count; the next 10 bits of the scores in it
//   sweep_narrow_low     the same for the last 10 bits
//
// Counters are integers, so the order of the atomic additions does not show. Every block of threads searches the
// histogram of 2048 or 1024 bins for itself, which saves a launch.
#include "sweep.cuh"

// ---- dead columns --------------------------------------------------------------------------------------------

struct SweepDeadParams {
    float* weight;         // f32 [rows, columns], row-major
    const uint32_t* dead;  // u32 [count]: columns whose inputs were always 0
    uint64_t rows;
    uint32_t columns;
    uint32_t count;
};
static_assert(sizeof(SweepDeadParams) == 32);

extern "C" __global__ void __launch_bounds__(THREADS) sweep_dead(const __grid_constant__ SweepDeadParams p) {
    const uint64_t place = blockIdx.x * static_cast<uint64_t>(THREADS) + threadIdx.x;
    if (place < p.rows * p.count) p.weight[place / p.count * p.columns + p.dead[place % p.count]] = 0.0f;
}

// ---- the block's weights, compensated ------------------------------------------------------------------------

// Rows 528 bytes apart: eight rows of ldmatrix fall into different groups of banks.
constexpr int PROJECTED_STRIDE = BLOCK + 4;

// Eight warps hold the 32 x 128 results: warp w takes columns 8w.. and 8(15 - w).., strips w and 15 - w, whose
// triangular depths add up to the same for all. A fragment of U serves one warp only and comes straight from the second-level cache.
extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_update(const __grid_constant__ SweepParams p) {
    __shared__ __align__(16) float projected[TILE_ROWS][PROJECTED_STRIDE];
    __shared__ uint32_t histogram[TOP_BINS];
    const RowTile tile = p.row_tiles[blockIdx.x];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int g = lane / 4, t = lane % 4;
    const int width = static_cast<int>(p.width);
    const int strips = ceil_div(width, STEP);
    const bool unstructured = p.counts != nullptr;
    float* change = p.change + tile.first_row * p.stride + p.start;

    // Rows of other row tiles are theirs to write: they are not read.
    constexpr int PIECES = BLOCK / 4;
    for (int piece = threadIdx.x; piece < TILE_ROWS * PIECES; piece += THREADS) {
        const int row = piece / PIECES, column = piece % PIECES * 4;
        const bool valid = row < static_cast<int>(tile.rows) && column < width;
        copy_async_16(shared_address(&projected[row][column]), valid ? change + row * p.stride + column : change, valid);
    }
    copy_async_commit();
    if (unstructured) {
        for (int bin = threadIdx.x; bin < TOP_BINS; bin += THREADS) histogram[bin] = 0;
        if (blockIdx.x == tile.segment_tile && p.block + 1 < p.blocks) {
            uint32_t* next = histogram_of(p, p.block + 1, tile.segment);
            for (int bin = threadIdx.x; bin < HISTOGRAM; bin += THREADS) next[bin] = 0;
        }
    }
    copy_async_wait<0>();
    __syncthreads();

    const float* inverse = inverse_of(p);
    const uint32_t a_address = shared_address(&projected[lane / 8 % 2 * 8 + lane % 8][lane / 16 * 4]);
    const int last = strips - 1 - warp;
    for (int strip = warp; strip <= last; strip += max(last - warp, 1)) {
        // All of U's fragments at once, so that their latencies overlap.
        float u[BLOCK / STEP][2];
#pragma unroll
        for (int step = 0; step < BLOCK / STEP; ++step) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int place = (step * STEP + i * 4 + t) * BLOCK + strip * STEP + g;
                u[step][i] = step <= strip ? inverse[place] : 0.0f;
            }
        }
        float sum[2][4] = {};
#pragma unroll
        for (int step = 0; step < BLOCK / STEP; ++step) {
            if (step > strip) break;
            const SplitTf32 b[2] = {split_tf32(u[step][0]), split_tf32(u[step][1])};
            const uint32_t b_high[2] = {b[0].high, b[1].high}, b_low[2] = {b[0].low, b[1].low};
#pragma unroll
            for (int m = 0; m < 2; ++m) {
                uint32_t a[4], a_high[4], a_low[4];
                load_matrix_x4(a, a_address + (m * 16 * PROJECTED_STRIDE + step * STEP) * sizeof(float));
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const SplitTf32 split = split_tf32(__uint_as_float(a[i]));
                    a_high[i] = split.high;
                    a_low[i] = split.low;
                }
                multiply_add_3xtf32(sum[m], a_high, a_low, b_high, b_low);
            }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int column = strip * STEP + 2 * t + i;
            const float pivot = unstructured ? pivot_at(p, column) : 0.0f;
#pragma unroll
            for (int eighth = 0; eighth < 4; ++eighth) {
                const int row = eighth * 8 + g;
                if (row >= static_cast<int>(tile.rows) || column >= width) continue;
                const size_t place = (tile.first_row + row) * static_cast<size_t>(p.columns) + p.start + column;
                const float weight = p.weight[place] + sum[eighth / 2][eighth % 2 * 2 + i];
                change[row * p.stride + column] = weight;
                if (unstructured) atomicAdd(&histogram[score(weight, pivot) >> TOP_SHIFT], 1);
            }
        }
    }
    if (unstructured) {
        __syncthreads();
        uint32_t* whole = histogram_of(p, p.block, tile.segment);
        for (int bin = threadIdx.x; bin < TOP_BINS; bin += THREADS) {
            if (histogram[bin] > 0) atomicAdd(&whole[bin], histogram[bin]);
        }
    }
}

// ---- the cut of the unstructured selection -------------------------------------------------------------------

// Finds the bin of the count in the histogram of the bits above SHIFT + 10, and counts the next 10 bits of the
// scores in that bin.
template <int SHIFT>
__device__ void narrow(const SweepParams& p) {
    constexpr bool LAST = SHIFT == 0;
    __shared__ uint32_t histogram[LOW_BINS];
    const RowTile tile = p.row_tiles[blockIdx.x];
    uint32_t* whole = histogram_of(p, p.block, tile.segment);
    Cut cut;
    if constexpr (LAST) {
        const Cut before = p.cuts[tile.segment];
        const Found found = find_bin<LOW_BINS>(whole + TOP_BINS, before.rest);
        cut = {before.prefix * LOW_BINS + found.bin, found.rest};
    } else {
        const Found found = find_bin<TOP_BINS>(whole, p.counts[tile.segment * p.blocks + p.block]);
        cut = {found.bin, found.rest};
    }
    if (blockIdx.x == tile.segment_tile && threadIdx.x == 0) p.cuts[(LAST ? p.segments : 0) + tile.segment] = cut;
    for (int bin = threadIdx.x; bin < LOW_BINS; bin += THREADS) histogram[bin] = 0;
    __syncthreads();

    const int first = threadIdx.x / WARP * WARP_ROWS;
    const int column = threadIdx.x % WARP * LANE_COLUMNS;
    LaneWeights own;
    load_effective(own, p, tile, first);
#pragma unroll
    for (int r = 0; r < WARP_ROWS; ++r) {
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; ++c) {
            const uint32_t bits = score(own.weight[r][c], own.pivot[c]);
            const bool inside = first + r < static_cast<int>(tile.rows) && column + c < static_cast<int>(p.width);
            if (inside && bits >> (SHIFT + 10) == cut.prefix) atomicAdd(&histogram[bits >> SHIFT & (LOW_BINS - 1)], 1);
        }
    }
    __syncthreads();
    whole += TOP_BINS + (LAST ? LOW_BINS : 0);
    for (int bin = threadIdx.x; bin < LOW_BINS; bin += THREADS) {
        const uint32_t count = histogram[bin];
        if (count > 0) atomicAdd(&whole[bin], count);
        // At most TILE_ROWS * BLOCK = 4096.
        if (LAST) p.low_counts[blockIdx.x * static_cast<size_t>(LOW_BINS) + bin] = static_cast<uint16_t>(count);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) sweep_narrow_middle(const __grid_constant__ SweepParams p) {
    narrow<MIDDLE_SHIFT>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) sweep_narrow_low(const __grid_constant__ SweepParams p) {
    narrow<0>(p);
}
