// product = (left * H) o mask, H symmetric, in float32 accuracy.
//
//   left     f32 [rows, size], row-major with a stride
//   H        f32 [size, size], packed lower triangle of 128 x 128 tiles
//   mask     u8 [rows, size], row-major, 0 or 1; or none
//   product  f32 [rows, size], row-major with a stride
//
// A block owns 128 rows x 128 columns (tile column j) of the product and walks down column j of H, 16 of the summed
// index k per stage:
//
//        left                    H                     tiles below the diagonal lie as they are needed, [k][n];
//      +-----+-----+           +---+                   a tile right of it, (k, j) with k < j, is tile (j, k)
//      |. . >|. . >| rows      |  -|-+  k < j: turned  turned over; the tile on it is half of each.
//      +-----+-----+           +---+ v
//        k ->                  |   | d|                Turning happens in the copy: 4 bytes at a time to the place
//                              +---+--+--+             where the fragment wants them. `left` is turned likewise, so
//                              |   | ||   k > j        that the product step is gram's.
//                              +---+-v+--+
//
// After CHAIN of k the sums are added to `product` in global memory and start again at 0, because tensor cores cut
// sums off instead of rounding them (gram.cu): 96 steps leave 3e-6 of the largest partial sum at worst.
//
// A stage copies 16 KiB for 3 * 2 * 128 * 128 * 16 = 1.6 M tf32 operations, 96 per byte: bound by the tensor cores.
// 3072 rows of 12288 columns are 2.8 Tflop in tf32: 18 ms at an A100's rate (156 Tflop/s), 6 ms at an H100's (495).
#include "tile.cuh"

// Of k, per stage: 16 x 256 x 4 bytes make 16 KiB.
constexpr int STEP = 16;

// Of k, per chain of sums.
constexpr int CHAIN = 256;

struct SymmParams {
    const float* left;    // f32 [rows, size]
    const float* h;       // f32, packed triangle of `size` rows
    const uint8_t* mask;  // u8 [rows, size], or null
    float* product;       // f32 [rows, size]
    int64_t left_stride;
    int64_t product_stride;
    int32_t rows;
    int32_t size;
};
static_assert(sizeof(SymmParams) == 56);

// Calls `copy(k, n)` for all k < STEP and n < TILE, each in one thread. A warp takes 8 of k by 4 of n: whole 32-byte
// sectors of a source in which k runs fastest, and two lanes to a bank of the operand.
template <typename Copy>
__device__ __forceinline__ void for_each_turned(Copy copy) {
#pragma unroll
    for (int k0 = 0; k0 < STEP; k0 += 8)
#pragma unroll 4
        for (int n0 = 0; n0 < TILE; n0 += TILE_THREADS / 8) copy(k0 + threadIdx.x % 8, n0 + threadIdx.x / 8);
}

// Rows `row`.. of `left`, turned: operand (k, n) is left (row + n, first + k); zeros beyond.
__device__ __forceinline__ void copy_left(float* to, const SymmParams& params, int row, int first) {
    for_each_turned([&](int k, int n) {
        const bool valid = (row + n < params.rows) & (first + k < params.size);
        const float* from = valid ? params.left + (row + n) * params.left_stride + first + k : params.left;
        copy_async_4(shared_address(to + operand_place<PERIOD_TF32>(k, n)), from, valid);
    });
}

// Rows `first`.. of the tile column j of H: operand (k, n) is H (first + k, 128 j + n). Tiles are padded with zeros.
__device__ __forceinline__ void copy_symmetric(float* to, const float* h, int first, int j) {
    const int i = first / TILE, inside = first % TILE;
    if (i > j) {
        const float* tile = h + triangle_tile(i, j) + inside * TILE;
        constexpr int CHUNKS = TILE / 4;
#pragma unroll
        for (int n = 0; n < STEP * CHUNKS / TILE_THREADS; ++n) {
            const int chunk = n * TILE_THREADS + threadIdx.x;
            const int k = chunk / CHUNKS, at = chunk % CHUNKS * 4;
            copy_async_16(shared_address(to + operand_place<PERIOD_TF32>(k, at)), tile + k * TILE + at, true);
        }
    } else {
        const float* tile = h + triangle_tile(j, i);
        for_each_turned([&](int k, int n) {
            const int row = inside + k;
            const bool stored = (i == j) & (row >= n);
            const float* from = tile + (stored ? row * TILE + n : n * TILE + row);
            copy_async_4(shared_address(to + operand_place<PERIOD_TF32>(k, n)), from, true);
        });
    }
}

// Writes or adds 8 pairs of this lane to the product, 0 where the mask is 0.
__device__ __forceinline__ void store_row(const SymmParams& params, int row, int column,
                                          const float2 (&pairs)[PAIRS], bool first_chain) {
    bool inside[PAIRS][2];
    uint32_t kept[PAIRS][2];
    float before[PAIRS][2];
    const auto at = [&](int p, int c, int64_t stride) { return row * stride + column + 8 * p + c; };
#pragma unroll
    for (int p = 0; p < PAIRS; ++p)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            inside[p][c] = (row < params.rows) & (column + 8 * p + c < params.size);
            kept[p][c] = inside[p][c];
            if (inside[p][c] & (params.mask != nullptr)) kept[p][c] = params.mask[at(p, c, params.size)];
        }
#pragma unroll
    for (int p = 0; p < PAIRS; ++p)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            before[p][c] = 0.0f;
            if ((kept[p][c] != 0) & !first_chain) before[p][c] = params.product[at(p, c, params.product_stride)];
        }
#pragma unroll
    for (int p = 0; p < PAIRS; ++p)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            const float sum = before[p][c] + (c ? pairs[p].y : pairs[p].x);
            if (inside[p][c]) params.product[at(p, c, params.product_stride)] = kept[p][c] ? sum : 0.0f;
        }
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) symm_f32(const __grid_constant__ SymmParams params) {
    extern __shared__ __align__(128) float operands[];
    constexpr int OPERAND = STEP * TILE;
    const int row = blockIdx.x * TILE, j = blockIdx.y;
    const Quarter quarter = own_quarter();
    const int steps = ceil_div(params.size, STEP);

    const auto copy_step = [&](int step) {
        if (step < steps) {
            float* to = operands + step % STAGES * 2 * OPERAND;
            copy_left(to, params, row, step * STEP);
            copy_symmetric(to + OPERAND, params.h, step * STEP, j);
        }
        copy_async_commit();
    };

    QuarterSums sums;
    clear(sums);
#pragma unroll 1
    for (int step = 0; step < STAGES - 1; ++step) copy_step(step);
    for (int step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        // Every thread's copies of this step have arrived, and nobody reads the stage that is filled next.
        __syncthreads();
        copy_step(step + STAGES - 1);
        const float* left = operands + step % STAGES * 2 * OPERAND;
        multiply_step_tf32<float, STEP, 4>(sums, left, left + OPERAND, nullptr, quarter);
        const bool chain_ends = (step + 1) % (CHAIN / STEP) == 0 || step + 1 == steps;
        if (!chain_ends) continue;
        const bool first_chain = step < CHAIN / STEP;
        for_each_row(sums, quarter, [&](int tile_row, int tile_column, const float2(&pairs)[PAIRS]) {
            store_row(params, row + tile_row, j * TILE + tile_column, pairs, first_chain);
        });
        clear(sums);
    }
}
