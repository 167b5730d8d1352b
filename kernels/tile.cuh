// Products of 128 x 128 tiles by four warps, for operands that lie in shared memory with the summed index first.
//
//        columns 0..63   64..127            operand, T [STEP][128]: row k holds the values of all 128 rows (or
//      +---------------+---------------+    columns) of the product at summed index k; groups of eight values
//      |    warp 0     |    warp 1     |    change places by k % PERIOD, so that neither the copies in nor
//      |    64 x 64    |    64 x 64    |    the fragments out meet in a bank:
//      +---------------+---------------+
//      |    warp 2     |    warp 3     |        (k, column) -> k * 128 + (column ^ (k % PERIOD) * 8)
//      |               |               |
//      +---------------+---------------+    ldmatrix reads eight rows at once, PERIOD 8; the fragments of tf32
//                                           products take four rows, PERIOD 4, with fewer different addresses.
//
// A warp keeps 64 x 64 sums in 128 registers per lane: 4 x 8 products of 16 x 8. Larger quarters would not fit,
// smaller ones read more shared memory per product.
#pragma once

#include "common.cuh"

constexpr int TILE = TRIANGLE_TILE;
constexpr int TILE_THREADS = 4 * WARP;

// Stages of the ring of operand tiles. Three stages of 16 KiB leave room for two blocks on a multiprocessor of
// any architecture; with two blocks, two stages under way each, 64 KiB are in flight per multiprocessor.
constexpr int STAGES = 3;

// Part of the tile that a warp computes.
struct Quarter {
    int row, column;
};

__device__ __forceinline__ Quarter own_quarter() {
    const int warp = threadIdx.x / WARP;
    return {warp / 2 * (TILE / 2), warp % 2 * (TILE / 2)};
}

// The sums of a quarter: [16-row group][8-column group][accumulator].
using QuarterSums = float[4][8][4];

__device__ __forceinline__ void clear(QuarterSums& sums) {
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
            for (int c = 0; c < 4; ++c) sums[m][n][c] = 0.0f;
}

// Pairs of neighbours that a lane holds of a row of its quarter.
constexpr int PAIRS = 8;

// Calls `visit(row, column, pairs)` for each row of a quarter: pair p of this lane lies at (row, column + 8 p), counted
// from the tile's corner. A row at a time, so that `visit` can start all its loads before it needs the first.
template <typename Visit>
__device__ __forceinline__ void for_each_row(const QuarterSums& sums, Quarter quarter, Visit visit) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float2 pairs[PAIRS];
#pragma unroll
            for (int p = 0; p < PAIRS; ++p) pairs[p] = make_float2(sums[m][p][2 * half], sums[m][p][2 * half + 1]);
            visit(quarter.row + m * 16 + half * 8 + lane / 4, quarter.column + lane % 4 * 2, pairs);
        }
}

constexpr int PERIOD_16BIT = 8;
constexpr int PERIOD_TF32 = 4;

// Position of (k, column) in an operand.
template <int PERIOD>
__device__ __forceinline__ int operand_place(int k, int column) {
    return k * TILE + (column ^ (k % PERIOD) * 8);
}

// sums += A^T diag(weights) B over STEP values of k, in float32 accuracy on tf32 tensor cores.
//
//   a, b     T [STEP][128] in shared memory, as above, of PERIOD_TF32
//   weights  f32 [STEP] in shared memory, or null for ones; null or not must be known when compiling
//
// 16-bit values are tf32 numbers as they stand, so that only the weighted side is split and two products suffice;
// f32 values need three. GROUPS of the quarter's four 16-row groups are multiplied at a time: with 4, B is read and
// split once per k; with 2, twice, but 16 registers stay free.
template <typename T, int STEP, int GROUPS>
__device__ __forceinline__ void multiply_step_tf32(QuarterSums& sums, const T* a, const T* b, const float* weights,
                                                   Quarter quarter) {
    const int lane = threadIdx.x % WARP;
    const int group = lane / 4;
    // Unrolled, the fragments of two rounds would not fit beside the sums.
#pragma unroll 1
    for (int k0 = 0; k0 < STEP; k0 += 8) {
        const int k_of[2] = {k0 + lane % 4, k0 + lane % 4 + 4};
        const float weight_of[2] = {weights ? weights[k_of[0]] : 1.0f, weights ? weights[k_of[1]] : 1.0f};
#pragma unroll
        for (int m0 = 0; m0 < 4; m0 += GROUPS) {
            uint32_t a_high[GROUPS][4], a_low[GROUPS][4];
#pragma unroll
            for (int m = 0; m < GROUPS; ++m)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int row = quarter.row + (m0 + m) * 16 + i % 2 * 8 + group;
                    const float value = to_float(a[operand_place<PERIOD_TF32>(k_of[i / 2], row)]);
                    const SplitTf32 split = split_tf32(weight_of[i / 2] * value);
                    a_high[m][i] = split.high;
                    a_low[m][i] = split.low;
                }
#pragma unroll
            for (int n = 0; n < 8; ++n) {
                const int column = quarter.column + n * 8 + group;
                const float first = to_float(b[operand_place<PERIOD_TF32>(k_of[0], column)]);
                const float second = to_float(b[operand_place<PERIOD_TF32>(k_of[1], column)]);
                if constexpr (sizeof(T) == 2) {
                    const uint32_t b_exact[2] = {__float_as_uint(first), __float_as_uint(second)};
#pragma unroll
                    for (int m = 0; m < GROUPS; ++m) {
                        multiply_add_tf32(sums[m0 + m][n], a_low[m], b_exact);
                        multiply_add_tf32(sums[m0 + m][n], a_high[m], b_exact);
                    }
                } else {
                    const SplitTf32 split[2] = {split_tf32(first), split_tf32(second)};
                    const uint32_t b_high[2] = {split[0].high, split[1].high};
                    const uint32_t b_low[2] = {split[0].low, split[1].low};
#pragma unroll
                    for (int m = 0; m < GROUPS; ++m)
                        multiply_add_3xtf32(sums[m0 + m][n], a_high[m], a_low[m], b_high, b_low);
                }
            }
        }
    }
}
