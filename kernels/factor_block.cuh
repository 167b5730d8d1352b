// One diagonal block of `factor.cu`: D = R R^T with R upper triangular, [128, 128], and U = R^-1, by one thread block.
//
// Everything is counted from the last row backwards: with a' = 127 - a the block reads D' = L L^T, L lower
// triangular, and V = L^-1, the textbook order. `values` holds both results in one square:
//
//            k ->                        rows c, the 32 columns of panel p: one vector x_c of 32 values
//        +----+----+----+----+            c above the panel   column c of V, rows p
//        |V\ V|  V |  V |  V |            c inside            column c of V: a unit vector before the solve
//        |L \ |    |    |    |            c below             row c of D', then of L
//        +----+----+----+----+
//    c   | L  |V\ V|  V |  V |         All 128 vectors of a panel are solved with the same 32 x 32 triangle, one
//        |    |L \ |    |    |         thread each: x <- L_pp^-1 x. Then every entry right of the panel loses the
//        +----+----+----+----+         product of two vectors, whichever matrix it belongs to:
//        | L  | L  |V\ V|  V |
//        |    |    |L \ |    |             L part  values[r][c] -= x_r . x_c     c below the panel, c <= r
//        +----+----+----+----+             V part  values[c][r] -= x_r . x_c     c above or inside, x_c from V
//        | L  | L  | L  |V\ V|
//        |    |    |    |L \ |         The diagonal belongs to V; L's is in `roots`.
//        +----+----+----+----+
//
// So the inverse costs no pass of its own. Per panel: one warp factors 32 x 32 in registers (32 dependent steps of
// about 120 cycles, what limits this file), four warps solve (500 multiply-adds per thread), eight warps update.
// Twelve barriers in all. Float32 throughout: substitution and the square root are as accurate as float32 allows,
// and float64 at 1/64 rate would take longer than all of the rest on the GPUs that have it so.
#pragma once

#include "common.cuh"

constexpr int BLOCK_THREADS = 256;
constexpr int PANEL = 32;
constexpr int PANELS = TRIANGLE_TILE / PANEL;
// Rows start four banks apart: eight rows of 16 bytes touch every bank once.
constexpr int BLOCK_STRIDE = TRIANGLE_TILE + 4;
constexpr int NO_FAILURE = -1;

struct DiagonalBlock {
    float values[TRIANGLE_TILE * BLOCK_STRIDE];
    // L_pp of the panel under way, transposed: one column of L after the other.
    float columns[PANEL * PANEL];
    float reciprocals[PANEL];
    // Diagonal of L.
    float roots[TRIANGLE_TILE];
    // First pivot, counted backwards, that is not positive and finite.
    int failed;
};

// Factors the 32 x 32 block on the diagonal of panel `panel`; lane i holds row i. All lanes of one warp.
__device__ __forceinline__ void factor_panel(DiagonalBlock& block, int panel) {
    const int lane = threadIdx.x % WARP;
    float* const rows = block.values + panel * PANEL * (BLOCK_STRIDE + 1);
    float row[PANEL];
#pragma unroll
    for (int k = 0; k < PANEL; k += 4) {
        const float4 four = *reinterpret_cast<const float4*>(rows + lane * BLOCK_STRIDE + k);
        row[k] = four.x, row[k + 1] = four.y, row[k + 2] = four.z, row[k + 3] = four.w;
    }
    float root = 0.0f, reciprocal = 0.0f;
    int failed = NO_FAILURE;
#pragma unroll
    for (int j = 0; j < PANEL; ++j) {
        const float column = row[j];
        const float pivot = __shfl_sync(ALL_LANES, column, j);
        // Written so that NaN fails.
        if (!(pivot > 0.0f && is_finite(pivot)) && failed == NO_FAILURE) failed = j;
        const float pivot_root = __fsqrt_rn(pivot);
        const float scale = __frcp_rn(pivot_root);
        row[j] = column * scale;
        if (lane == j) root = pivot_root, reciprocal = scale;
        // The shuffles take the column as it was, so that they do not wait for the root.
#pragma unroll
        for (int k = j + 1; k < PANEL; ++k) {
            row[k] -= row[j] * (__shfl_sync(ALL_LANES, column, k) * scale);
        }
    }
#pragma unroll
    for (int k = 0; k < PANEL; k += 4) {
        const float4 four = {row[k], row[k + 1], row[k + 2], row[k + 3]};
        *reinterpret_cast<float4*>(rows + lane * BLOCK_STRIDE + k) = four;
    }
#pragma unroll
    for (int k = 0; k < PANEL; ++k) block.columns[k * PANEL + lane] = row[k];
    block.reciprocals[lane] = reciprocal;
    block.roots[panel * PANEL + lane] = root;
    if (lane == 0 && failed != NO_FAILURE && block.failed == NO_FAILURE) block.failed = panel * PANEL + failed;
}

// x_c <- L_pp^-1 x_c for vector `c` of the panel: one thread.
__device__ __forceinline__ void solve_vector(DiagonalBlock& block, int panel, int c) {
    float* const vector = block.values + c * BLOCK_STRIDE + panel * PANEL;
    const bool inside = c / PANEL == panel;
    const int own = c % PANEL;
    float x[PANEL];
#pragma unroll
    for (int k = 0; k < PANEL; k += 4) {
        const float4 four = *reinterpret_cast<const float4*>(vector + k);
        x[k] = four.x, x[k + 1] = four.y, x[k + 2] = four.z, x[k + 3] = four.w;
    }
    if (inside) {
#pragma unroll
        for (int k = 0; k < PANEL; ++k) x[k] = k == own ? 1.0f : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < PANEL; ++k) {
        x[k] *= block.reciprocals[k];
#pragma unroll
        for (int i = (k + 1) / 4 * 4; i < PANEL; i += 4) {
            const float4 four = *reinterpret_cast<const float4*>(block.columns + k * PANEL + i);
            const float below[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                if (i + e > k) x[i + e] -= below[e] * x[k];
            }
        }
    }
    if (inside) {
        // Left of its diagonal stands L.
#pragma unroll
        for (int k = 0; k < PANEL; ++k) {
            if (k >= own) vector[k] = x[k];
        }
    } else {
#pragma unroll
        for (int k = 0; k < PANEL; k += 4) {
            *reinterpret_cast<float4*>(vector + k) = {x[k], x[k + 1], x[k + 2], x[k + 3]};
        }
    }
}

// Takes the products of the panel's vectors from everything right of the panel. A warp takes 32 rows r by 16
// vectors c at a time; a lane has rows 8 apart and vectors 4 apart.
__device__ __forceinline__ void update_right(DiagonalBlock& block, int panel) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float* const values = block.values;
    const int base = panel * PANEL;
    // Row block b has b + 1 blocks of vectors, in two halves each.
    int units = 0;
    for (int b = panel + 1; b < PANELS; ++b) units += 2 * (b + 1);
    for (int unit = warp; unit < units; unit += BLOCK_THREADS / WARP) {
        int row_block = panel + 1, vector_block = unit / 2;
        while (vector_block > row_block) vector_block -= row_block + 1, ++row_block;
        const int r0 = row_block * PANEL + lane % 8;
        const int c0 = vector_block * PANEL + unit % 2 * 16 + lane / 8;
        float sums[4][4] = {};
#pragma unroll
        for (int k = 0; k < PANEL; k += 4) {
            float4 rows[4];
#pragma unroll
            for (int a = 0; a < 4; ++a) {
                rows[a] = *reinterpret_cast<const float4*>(values + (r0 + 8 * a) * BLOCK_STRIDE + base + k);
            }
#pragma unroll
            for (int b = 0; b < 4; ++b) {
                const int c = c0 + 4 * b;
                float4 vector = *reinterpret_cast<const float4*>(values + c * BLOCK_STRIDE + base + k);
                if (vector_block == panel) {
                    // What stands left of the diagonal of V is L.
                    const int zeros = c - base - k;
                    if (zeros > 0) vector.x = 0.0f;
                    if (zeros > 1) vector.y = 0.0f;
                    if (zeros > 2) vector.z = 0.0f;
                    if (zeros > 3) vector.w = 0.0f;
                }
#pragma unroll
                for (int a = 0; a < 4; ++a) {
                    sums[a][b] += rows[a].x * vector.x;
                    sums[a][b] += rows[a].y * vector.y;
                    sums[a][b] += rows[a].z * vector.z;
                    sums[a][b] += rows[a].w * vector.w;
                }
            }
        }
#pragma unroll
        for (int a = 0; a < 4; ++a) {
#pragma unroll
            for (int b = 0; b < 4; ++b) {
                const int r = r0 + 8 * a, c = c0 + 4 * b;
                if (vector_block <= panel) {
                    values[c * BLOCK_STRIDE + r] -= sums[a][b];
                } else if (c <= r) {
                    values[r * BLOCK_STRIDE + c] -= sums[a][b];
                }
            }
        }
    }
}

// Places D[row, column] before `factor_diagonal`; right of the diagonal of D it clears the place of V.
__device__ __forceinline__ void place_diagonal(DiagonalBlock& block, int row, int column, float value) {
    const int last = TRIANGLE_TILE - 1;
    block.values[(last - column) * BLOCK_STRIDE + last - row] = row >= column ? value : 0.0f;
}

// The whole block; `block.failed` is NO_FAILURE and all values are placed. Begins and ends with a barrier.
__device__ __forceinline__ void factor_diagonal(DiagonalBlock& block) {
    __syncthreads();
    for (int panel = 0; panel < PANELS; ++panel) {
        if (threadIdx.x < WARP) factor_panel(block, panel);
        __syncthreads();
        if (threadIdx.x < TRIANGLE_TILE) solve_vector(block, panel, threadIdx.x);
        __syncthreads();
        update_right(block, panel);
        __syncthreads();
    }
}

// Writes the results. Lanes take 8 columns by 4 rows: `values` is read along both directions without more than
// two lanes per bank, and every 32-byte sector is written whole.
//   triangle: f32 [128, 128]   R^T, zero right of the diagonal and from row and column `valid` on
//   inverse:  f32 [128, 128]   U, identity from row and column `valid` on
//   turned:   f32 [128, 128]   U^T
__device__ __forceinline__ void store_diagonal(const DiagonalBlock& block, int valid, float* triangle, float* inverse,
                                               float* turned) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int last = TRIANGLE_TILE - 1;
    for (int unit = warp; unit < TRIANGLE_TILE * TRIANGLE_TILE / WARP; unit += BLOCK_THREADS / WARP) {
        const int row = unit / (TRIANGLE_TILE / 8) * 4 + lane / 8;
        const int column = unit % (TRIANGLE_TILE / 8) * 8 + lane % 8;
        const float here = block.values[(last - column) * BLOCK_STRIDE + last - row];
        const float mirrored = block.values[(last - row) * BLOCK_STRIDE + last - column];
        float factor = row > column ? here : 0.0f;
        if (row == column && row < valid) factor = block.roots[last - row];
        const int place = row * TRIANGLE_TILE + column;
        triangle[place] = factor;
        inverse[place] = row <= column ? here : 0.0f;
        turned[place] = row >= column ? mirrored : 0.0f;
    }
}
