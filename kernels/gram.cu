// H += scale * X^T diag(weights) X for many inputs in one launch; lower triangle only.
//
//   X        T [tokens, columns], row-major with a stride; T is f32, f16 or bf16
//   weights  f32 [tokens], or none
//   H        f32, packed lower triangle of 128 x 128 tiles
//   sums     f64 [columns]        += scale * sum over tokens of weight * x
//   flags    u32 [tile rows]      1 where an input among these 128 columns is NaN or infinite
//
// A block owns a tile (i, j) of one H at a time and walks over all tokens:
//
//        X: tokens x columns                       H
//      +-----+-----+-----+-----+                 +---+
//      |     |  j  |     |  i  |  STEP tokens    |   |           A = X[:, i]^T, 128 x STEP
//      |     |.....|     |.....|  per stage      +---+---+       B = X[:, j],   STEP x 128
//      |     |  :  |     |  :  |                 |   | d |       d: diagonal tile, A and B are one strip, and
//      |     |  v  |     |  v  |                 +---+---+---+   the warp whose quarter lies above the diagonal
//                                                |   |i,j|   |   sums the strip's columns instead
//                                                +---+---+---+
//
// Both operands have the tokens as rows, so that both fragments of the 16-bit product come from ldmatrix.trans.
// A ring of STAGES stages is filled by cp.async. After CHAIN tokens the sums are added to H in global memory and
// start again at 0: tensor cores cut the sum off instead of rounding it, so that an n-step chain of like signs comes
// out short by about n * 2^-25 of itself (16-bit: 128 steps, 4e-6; f32: 96 steps, 3e-6). One block owns a tile for
// the whole launch and tokens are walked in order: the bits depend on nothing else.
//
// Tiles are dealt to blocks in a fixed order, longest inputs first, in bands of BAND tile rows, column by column,
// so that the blocks under way share about 2 * BAND strips of X in the second-level cache.
//
// Weights per row: the weighted side is no longer a 16-bit number. It is formed in f32 and split into two tf32
// numbers; X itself is exact in tf32. Four times the time of the unweighted 16-bit product, and exact to 2^-22.
// Rows that share a weight are cheaper as one input per weight.
//
// Limits. A tile of 16-bit inputs moves 512 bytes from L2 per token for 32,768 operations: 64 operations per byte,
// which is L2's rate (about 5 TB/s) at some 320 Tflop/s. tokens * columns^2 operations in all: 4608 tokens of 3072
// columns are 43 Gflop, 0.14 ms at an A100's dense rate (312 Tflop/s) and as much at L2's on an H100; f32 inputs take
// three tf32 products, 0.84 ms on an A100.
#include "tile.cuh"

// Tokens per stage: 32 x 256 x 2 bytes or 16 x 256 x 4 bytes make 16 KiB.
constexpr int STEP_16BIT = 32;
constexpr int STEP_TF32 = 16;

// Tokens per chain of sums. Adding to H costs 128 KiB of traffic: 12 % of what a chain of 16-bit inputs loads. The
// tf32 products are slower by six times, so that shorter chains are affordable.
constexpr int CHAIN_16BIT = 2048;
constexpr int CHAIN_TF32 = 256;

// Tokens whose columns are summed in f32; beyond, sums are f64, which consumer GPUs add 64 times slower.
constexpr int CHAIN_COLUMNS = 64;

// Tile rows per band: 16 x 16 tiles are about what two blocks on each of 132 multiprocessors hold.
constexpr int BAND = 16;

// Inputs of one launch: `ITEMS` of src/gram.rs. The struct stays below the 4 KiB that every driver takes.
constexpr int ITEMS = 32;

struct GramItem {
    const void* x;         // T [tokens, columns], row-major
    const float* weights;  // f32 [tokens], or null
    float* h;              // f32, packed triangle of `columns` rows
    double* sums;          // f64 [columns]
    uint32_t* flags;       // u32 [tiles(columns)]
    int64_t stride;        // values from row to row of x
    int32_t tokens;
    int32_t columns;
    float scale;
    int32_t first;   // tiles of the items before this one
    int32_t vector;  // 1 if every 16 bytes of a row are whole and aligned
    int32_t unused;
};
static_assert(sizeof(GramItem) == 72);

struct GramParams {
    GramItem items[ITEMS];
    int32_t count;
    int32_t tiles;  // of all items
};
static_assert(sizeof(GramParams) == 2312);

struct Tile {
    int item, i, j;
};

// Tile number `work` of the launch.
__device__ __forceinline__ Tile find_tile(const GramParams& params, int work) {
    int item = 0;
    while (item + 1 < params.count && work >= params.items[item + 1].first) ++item;
    int rest = work - params.items[item].first;
    const int rows = ceil_div(params.items[item].columns, TILE);
    // The band's first tile row; a band's tiles follow those of all rows above it.
    int top = 0;
    while (top + BAND < rows && rest >= (top + BAND) * (top + BAND + 1) / 2) top += BAND;
    rest -= top * (top + 1) / 2;
    const int height = min(BAND, rows - top);
    if (rest < top * height) return {item, top + rest % height, rest / height};
    rest -= top * height;
    int j = 0;
    for (; rest >= height - j; ++j) rest -= height - j;
    return {item, top + j + rest, top + j};
}

// Starts the copies of STEP tokens from `token` on of the strip of 128 columns from `column` on. Places beyond the
// matrix receive zeros.
template <typename T, int STEP, int PERIOD>
__device__ __forceinline__ void copy_strip(T* to, const GramItem& item, int token, int column) {
    const T* x = static_cast<const T*>(item.x);
    if (item.vector) {
        constexpr int VALUES = 16 / sizeof(T);
        constexpr int CHUNKS = TILE / VALUES;
#pragma unroll
        for (int n = 0; n < STEP * CHUNKS / TILE_THREADS; ++n) {
            const int chunk = n * TILE_THREADS + threadIdx.x;
            const int k = chunk / CHUNKS, at = chunk % CHUNKS * VALUES;
            const bool valid = (token + k < item.tokens) & (column + at < item.columns);
            const T* from = valid ? x + (token + k) * item.stride + column + at : x;
            copy_async_16(shared_address(to + operand_place<PERIOD>(k, at)), from, valid);
        }
    } else {
        const int at = threadIdx.x;
#pragma unroll 8
        for (int k = 0; k < STEP; ++k) {
            const bool valid = (token + k < item.tokens) & (column + at < item.columns);
            const T* from = valid ? x + (token + k) * item.stride + column + at : x;
            T* place = to + operand_place<PERIOD>(k, at);
            if constexpr (sizeof(T) == 4) {
                copy_async_4(shared_address(place), from, valid);
            } else {
                *place = valid ? *from : from_float<T>(0.0f);
            }
        }
    }
}

// Sums of the columns 4 L .. 4 L + 3 of a strip, L the lane.
struct ColumnSums {
    float partial[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    // 0, or NaN after an input that is not finite: 0 * x tells both apart with one instruction.
    float probe = 0.0f;

    template <typename T, int STEP, int PERIOD>
    __device__ __forceinline__ void add(const T* strip, const float* weights) {
        struct alignas(4 * sizeof(T)) Four {
            T value[4];
        };
        const int lane = threadIdx.x % WARP;
#pragma unroll 4
        for (int k = 0; k < STEP; ++k) {
            const Four four = *reinterpret_cast<const Four*>(strip + operand_place<PERIOD>(k, 4 * lane));
            // Null in the unweighted kernels, at compile time.
            const float weight = weights ? weights[k] : 1.0f;
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                const float x = to_float(four.value[c]);
                partial[c] = fmaf(weight, x, partial[c]);
                probe = fmaf(0.0f, x, probe);
            }
        }
    }

    // Adds what was summed to the sums in f64, and starts again.
    __device__ __forceinline__ void flush(const GramItem& item, int tile_row) {
        const int first = tile_row * TILE + threadIdx.x % WARP * 4;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            if (first + c < item.columns)
                item.sums[first + c] += static_cast<double>(item.scale) * static_cast<double>(partial[c]);
            partial[c] = 0.0f;
        }
    }

    __device__ __forceinline__ void report(const GramItem& item, int tile_row) const {
        if (!__all_sync(ALL_LANES, probe == 0.0f) && threadIdx.x % WARP == 0) item.flags[tile_row] = 1;
    }
};

// H += scale * sums for the quarter's places on and below the diagonal, and starts new sums.
__device__ __forceinline__ void add_to_triangle(QuarterSums& sums, const GramItem& item, Tile tile, Quarter quarter) {
    float* h = item.h + triangle_tile(tile.i, tile.j);
    for_each_row(sums, quarter, [&](int row, int column, const float2(&pairs)[PAIRS]) {
        float2 values[PAIRS];
        // Every place of a tile exists, so that nothing needs to be decided before it is loaded.
#pragma unroll
        for (int p = 0; p < PAIRS; ++p)
            values[p] = *reinterpret_cast<float2*>(h + row * TILE + column + 8 * p);
#pragma unroll
        for (int p = 0; p < PAIRS; ++p) {
            const int matrix_row = tile.i * TILE + row;
            const int matrix_column = tile.j * TILE + column + 8 * p;
            // Padding stays 0 even when an input is NaN.
            const bool inside = matrix_row < item.columns;
            if (inside & (matrix_column <= matrix_row)) values[p].x = fmaf(item.scale, pairs[p].x, values[p].x);
            if (inside & (matrix_column < matrix_row)) values[p].y = fmaf(item.scale, pairs[p].y, values[p].y);
            *reinterpret_cast<float2*>(h + row * TILE + column + 8 * p) = values[p];
        }
    });
    clear(sums);
}

// sums += A^T B over STEP tokens of 16-bit values.
template <typename T, int STEP>
__device__ __forceinline__ void multiply_step_16bit(QuarterSums& sums, const T* a, const T* b, Quarter quarter) {
    // Lane 8 q + r gives row r of matrix q. A: matrices 0, 1 are tokens 0..7 of columns 0..7, 8..15; 2, 3 tokens
    // 8..15. B: matrices 0, 1 are tokens 0..7, 8..15 of columns 0..7; 2, 3 of columns 8..15.
    const int lane = threadIdx.x % WARP;
    const int matrix = lane / 8, r = lane % 8;
#pragma unroll
    for (int k0 = 0; k0 < STEP; k0 += 16) {
        uint32_t a_part[4][4], b_part[4][4];
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            const int k = k0 + matrix / 2 * 8 + r, column = quarter.row + m * 16 + matrix % 2 * 8;
            load_matrix_x4_transposed(a_part[m], shared_address(a + operand_place<PERIOD_16BIT>(k, column)));
        }
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            const int k = k0 + matrix % 2 * 8 + r, column = quarter.column + n * 16 + matrix / 2 * 8;
            load_matrix_x4_transposed(b_part[n], shared_address(b + operand_place<PERIOD_16BIT>(k, column)));
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) {
            const uint32_t b_pair[2] = {b_part[n / 2][n % 2 * 2], b_part[n / 2][n % 2 * 2 + 1]};
#pragma unroll
            for (int m = 0; m < 4; ++m) multiply_add<T>(sums[m][n], a_part[m], b_pair);
        }
    }
}

// One tile over all tokens. FAST: 16-bit products without row weights; otherwise tf32 products, with them or not.
template <typename T, bool FAST>
__device__ __forceinline__ void gram_tile(const GramItem& item, Tile tile, T* operands, float* stage_weights) {
    constexpr int STEP = FAST ? STEP_16BIT : STEP_TF32;
    constexpr int PERIOD = FAST ? PERIOD_16BIT : PERIOD_TF32;
    constexpr int CHAIN = FAST ? CHAIN_16BIT : CHAIN_TF32;
    constexpr int STRIP = STEP * TILE;
    // With 4, the f32 kernel spills registers on compute capability 10 and 12.
    constexpr int GROUPS = sizeof(T) == 4 ? 2 : 4;
    const bool diagonal = tile.i == tile.j;
    const Quarter quarter = own_quarter();
    const bool above = diagonal && quarter.row < quarter.column;
    const int steps = ceil_div(item.tokens, STEP);

    const auto copy_step = [&](int step) {
        if (step < steps) {
            const int stage = step % STAGES, token = step * STEP;
            copy_strip<T, STEP, PERIOD>(operands + 2 * stage * STRIP, item, token, tile.i * TILE);
            if (!diagonal) copy_strip<T, STEP, PERIOD>(operands + (2 * stage + 1) * STRIP, item, token, tile.j * TILE);
            if (!FAST && item.weights && threadIdx.x < STEP) {
                const bool valid = token + static_cast<int>(threadIdx.x) < item.tokens;
                const float* from = valid ? item.weights + token + threadIdx.x : item.weights;
                copy_async_4(shared_address(stage_weights + stage * STEP + threadIdx.x), from, valid);
            }
        }
        copy_async_commit();
    };

    if (!FAST && !item.weights && threadIdx.x < STAGES * STEP) stage_weights[threadIdx.x] = 1.0f;
    QuarterSums sums;
    clear(sums);
    ColumnSums columns;
#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) copy_step(step);
    for (int step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        // Every thread's copies of this step have arrived, and nobody reads the stage that is filled next.
        __syncthreads();
        copy_step(step + STAGES - 1);
        const int stage = step % STAGES;
        const T* a = operands + 2 * stage * STRIP;
        const T* b = diagonal ? a : a + STRIP;
        const float* weights = FAST ? nullptr : stage_weights + stage * STEP;
        if (above) {
            columns.add<T, STEP, PERIOD>(a, weights);
        } else if constexpr (FAST) {
            multiply_step_16bit<T, STEP>(sums, a, b, quarter);
        } else {
            multiply_step_tf32<T, STEP, GROUPS>(sums, a, b, weights, quarter);
        }
        const bool last = step + 1 == steps;
        if (above) {
            if (last || (step + 1) % (CHAIN_COLUMNS / STEP) == 0) columns.flush(item, tile.i);
        } else {
            if (last || (step + 1) % (CHAIN / STEP) == 0) add_to_triangle(sums, item, tile, quarter);
        }
    }
    if (above) columns.report(item, tile.i);
}

template <typename T, bool FAST>
__device__ __forceinline__ void gram_tiles(const GramParams& params) {
    constexpr int STEP = FAST ? STEP_16BIT : STEP_TF32;
    extern __shared__ __align__(128) unsigned char shared[];
    T* operands = reinterpret_cast<T*>(shared);
    float* stage_weights = reinterpret_cast<float*>(operands + STAGES * 2 * STEP * TILE);
    for (int work = blockIdx.x; work < params.tiles; work += gridDim.x) {
        const Tile tile = find_tile(params, work);
        gram_tile<T, FAST>(params.items[tile.item], tile, operands, stage_weights);
        // The next tile's first copies go where the last steps of this one are read.
        __syncthreads();
    }
}

// 16-bit inputs in whole 16-byte vectors, no row weights.
extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) gram_f16(const __grid_constant__ GramParams params) {
    gram_tiles<__half, true>(params);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) gram_bf16(const __grid_constant__ GramParams params) {
    gram_tiles<__nv_bfloat16, true>(params);
}

// Any stride and alignment, with row weights or without.
extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)
    gram_f32_weighted(const __grid_constant__ GramParams params) {
    gram_tiles<float, false>(params);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)
    gram_f16_weighted(const __grid_constant__ GramParams params) {
    gram_tiles<__half, false>(params);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2)
    gram_bf16_weighted(const __grid_constant__ GramParams params) {
    gram_tiles<__nv_bfloat16, false>(params);
}
