// P[:, rest] += D_B R[B, rest]: passes finished columns on to those behind them (see sweep.cuh).
//
//                   128 columns of tile j                  A: D_B, rows of `change`
//                +------+------+------+------+              B: tile (j, b) of R^T, whose rows are columns of R
//     128 rows   | warp |   1  |   2  |   3  |   64         depth: 32 at a time in two stages; row pieces of 16 bytes
//                +------+------+------+------+              are stored at piece ^ row % 8, which keeps ldmatrix
//                |   4  |   5  |   6  |   7  |   64         and the copies free of bank conflicts
//                +------+------+------+------+
//                   32     32     32     32
//
// Tensor cores truncate their sums: the product is summed apart and added to P once, rounded to nearest.
//
// A tile is 128^3 multiply-adds in three terms, 12.6 MFLOP of TF32 for 256 KiB moved: 6 us at 2.2 TFLOP/s, an
// H100 SM's share of 300; two blocks per SM hide each other's copies and the reading of P at the end. Conversions to tf32 take 24 * 3
// operations per warp and step of 48 products, less than half of the products' time.
#include "sweep.cuh"

struct SweepTrailingParams {
    float* change;         // f32 [rows padded, stride]
    const float* factor;   // R^T: packed lower triangle, f32
    uint64_t stride;
    uint32_t tile;         // b: tile of the finished columns
    uint32_t first_output; // first j
    uint32_t first_depth;  // first finished column inside tile b
    uint32_t depth;        // finished columns, a multiple of 16
    uint32_t first_column; // columns of tile j before this one are left alone, a multiple of 16
    uint32_t unused;
};
static_assert(sizeof(SweepTrailingParams) == 48);

constexpr int CHUNK = 32;
constexpr int CHUNK_PIECES = CHUNK / 4;
constexpr int STAGES = 2;
// One operand of one stage.
constexpr int STAGE_BYTES = BLOCK * CHUNK * sizeof(float);

// Byte position of a 16-byte piece in a stage.
__device__ __forceinline__ uint32_t swizzled(int row, int piece) {
    return (row * CHUNK_PIECES + (piece ^ row % 8)) * 16;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_trailing(const __grid_constant__ SweepTrailingParams p) {
    // [STAGES][A, B][128 rows][32 values]
    extern __shared__ __align__(128) unsigned char dynamic[];
    const uint32_t stages = shared_address(dynamic);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int warp_row = warp / 4 * 64, warp_column = warp % 4 * 32;
    const uint32_t output = p.first_output + blockIdx.x;
    float* rows = p.change + blockIdx.y * static_cast<size_t>(BLOCK) * p.stride;
    const float* done = rows + static_cast<size_t>(p.tile) * BLOCK + p.first_depth;
    const float* above = p.factor + triangle_tile(output, p.tile) + p.first_depth;
    const int chunks = ceil_div(p.depth, CHUNK);

    auto stage = [&](int chunk) {
        const uint32_t to = stages + chunk % STAGES * 2 * STAGE_BYTES;
        for (int piece = threadIdx.x; piece < BLOCK * CHUNK_PIECES; piece += THREADS) {
            const int row = piece / CHUNK_PIECES, column = chunk * CHUNK + piece % CHUNK_PIECES * 4;
            const bool valid = column < static_cast<int>(p.depth);
            const int from = valid ? column : 0;
            copy_async_16(to + swizzled(row, piece % CHUNK_PIECES), done + row * p.stride + from, valid);
            copy_async_16(to + STAGE_BYTES + swizzled(row, piece % CHUNK_PIECES), above + row * BLOCK + from, valid);
        }
    };

    float sum[4][4][4] = {};
    for (int chunk = 0; chunk < STAGES; ++chunk) {
        if (chunk < chunks) stage(chunk);
        copy_async_commit();
    }
    for (int chunk = 0; chunk < chunks; ++chunk) {
        copy_async_wait<STAGES - 1>();
        __syncthreads();
        const uint32_t a_stage = stages + chunk % STAGES * 2 * STAGE_BYTES, b_stage = a_stage + STAGE_BYTES;
        // One step at a time: unrolled, its loads would not fit into the 128 registers of two blocks.
#pragma unroll 1
        for (int step = 0; step < CHUNK / STEP; ++step) {
            uint32_t b_high[4][2], b_low[4][2];
#pragma unroll
            for (int pair = 0; pair < 2; ++pair) {
                const int row = warp_column + pair * 16 + lane / 16 * 8 + lane % 8;
                uint32_t b[4];
                load_matrix_x4(b, b_stage + swizzled(row, step * 2 + lane / 8 % 2));
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const SplitTf32 split = split_tf32(__uint_as_float(b[i]));
                    b_high[pair * 2 + i / 2][i % 2] = split.high;
                    b_low[pair * 2 + i / 2][i % 2] = split.low;
                }
            }
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                const int row = warp_row + m * 16 + lane / 8 % 2 * 8 + lane % 8;
                uint32_t a[4], a_high[4], a_low[4];
                load_matrix_x4(a, a_stage + swizzled(row, step * 2 + lane / 16));
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const SplitTf32 split = split_tf32(__uint_as_float(a[i]));
                    a_high[i] = split.high;
                    a_low[i] = split.low;
                }
                // The three terms of multiply_add_3xtf32, each for all columns: four independent products lie
                // between two into the same sums.
#pragma unroll
                for (int n = 0; n < 4; ++n) multiply_add_tf32(sum[m][n], a_low, b_high[n]);
#pragma unroll
                for (int n = 0; n < 4; ++n) multiply_add_tf32(sum[m][n], a_high, b_low[n]);
#pragma unroll
                for (int n = 0; n < 4; ++n) multiply_add_tf32(sum[m][n], a_high, b_high[n]);
            }
        }
        __syncthreads();
        if (chunk + STAGES < chunks) stage(chunk + STAGES);
        copy_async_commit();
    }

    float* target = rows + static_cast<size_t>(output) * BLOCK;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = warp_row + m * 16 + half * 8 + lane / 4;
#pragma unroll
            for (int n = 0; n < 4; ++n) {
                const int column = warp_column + n * 8 + lane % 4 * 2;
                if (column < static_cast<int>(p.first_column)) continue;
                float2* place = reinterpret_cast<float2*>(target + row * p.stride + column);
                const float2 before = *place;
                *place = make_float2(before.x + sum[m][n][half * 2], before.y + sum[m][n][half * 2 + 1]);
            }
        }
    }
}
