// Products of tiles for `factor.cu`: sums += left^T right, 128 x 128 outputs, by one thread block of 256 threads. Both
// operands have the summed index as their row, so 16 steps of it are 8 KiB in one piece of a tile:
//
//     global --cp.async--> ring of 3 x (16 x 128 left, 16 x 128 right) --> registers, 64 sums per thread
//
//   tensor   3xTF32 (m16n8k8), eight warps of 64 x 32: compute capability 8.0, 9.0, 10.0, where three TF32 products
//            are quicker than one FFMA
//   fma      FFMA, eight warps of 32 x 64: 8.6, 8.9, 12.0, where TF32 runs at the rate of FFMA or twice that
//
// Sums start from zero for each product and are taken from H once, so the truncation inside the tensor cores acts
// on at most 512 terms.
#pragma once

#include "common.cuh"

constexpr int TILE = TRIANGLE_TILE;
constexpr int THREADS = 256;

// Depth of a step, 8 KiB per operand: it takes about 1,500 cycles, and two in flight cover the latency of memory.
constexpr int DEPTH = 16;
constexpr int STEPS = TILE / DEPTH;
constexpr int STAGES = 3;

// Values from one row of an operand in shared memory to the next. Tensor cores read 4 rows by 8 columns at once,
// which 8 banks between rows keep apart; FFMA reads along rows, and two blocks with three stages of both operands,
// 48 KiB each, just fit into the 100 KiB of a multiprocessor.
constexpr int TENSOR_STRIDE = TILE + 8;
constexpr int FMA_STRIDE = TILE;

using Sums = float[16][4];

// ---- products ------------------------------------------------------------------------------------------------

// sums += left^T right, both [16, 128]. A thread's sums [f][2 h], [f][2 h + 1] are (row(f, h), column(f, h)) and its
// right neighbour.
struct TensorCores {
    static constexpr int STRIDE = TENSOR_STRIDE;
    static __device__ __forceinline__ int first_row() { return threadIdx.x / WARP % 2 * 64; }
    static __device__ __forceinline__ int first_column() { return threadIdx.x / WARP / 2 * 32; }
    static __device__ __forceinline__ int row(int f, int h) {
        return first_row() + f / 4 * 16 + threadIdx.x % WARP / 4 + 8 * h;
    }
    static __device__ __forceinline__ int column(int f, int) {
        return first_column() + f % 4 * 8 + 2 * (threadIdx.x % 4);
    }

    static __device__ __forceinline__ void multiply(Sums& sums, const float* left, const float* right) {
        const int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            uint32_t right_high[4][2], right_low[4][2];
#pragma unroll
            for (int n = 0; n < 4; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const SplitTf32 x = split_tf32(right[(k + t + 4 * i) * STRIDE + first_column() + n * 8 + g]);
                    right_high[n][i] = x.high, right_low[n][i] = x.low;
                }
            }
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                uint32_t left_high[4], left_low[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int column = first_row() + m * 16 + g + i % 2 * 8;
                    const SplitTf32 x = split_tf32(left[(k + t + i / 2 * 4) * STRIDE + column]);
                    left_high[i] = x.high, left_low[i] = x.low;
                }
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    multiply_add_3xtf32(sums[m * 4 + n], left_high, left_low, right_high[n], right_low[n]);
                }
            }
        }
    }
};

struct Fma {
    static constexpr int STRIDE = FMA_STRIDE;
    static __device__ __forceinline__ int first_row() {
        return threadIdx.x / WARP % 4 * 32 + threadIdx.x % WARP / 8 * 4;
    }
    static __device__ __forceinline__ int first_column() { return threadIdx.x / WARP / 4 * 64 + threadIdx.x % 8 * 4; }
    static __device__ __forceinline__ int row(int f, int) { return first_row() + f / 8 * 16 + f / 2 % 4; }
    static __device__ __forceinline__ int column(int f, int h) { return first_column() + f % 2 * 32 + 2 * h; }

    static __device__ __forceinline__ void multiply(Sums& sums, const float* left, const float* right) {
#pragma unroll 4
        for (int k = 0; k < DEPTH; ++k) {
            float a[2][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                load(a[i], left + k * STRIDE + first_row() + 16 * i);
                load(b[i], right + k * STRIDE + first_column() + 32 * i);
            }
#pragma unroll
            for (int f = 0; f < 16; ++f) {
#pragma unroll
                for (int e = 0; e < 4; ++e) sums[f][e] = fmaf(a[f / 8][f / 2 % 4], b[f % 2][e], sums[f][e]);
            }
        }
    }

    static __device__ __forceinline__ void load(float (&to)[4], const float* from) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    }
};

__device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int f = 0; f < 16; ++f) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[f][e] = 0.0f;
    }
}

// visit(row, column, first, second) for every pair of neighbouring sums of this thread.
template <typename Arithmetic, typename Visit>
__device__ __forceinline__ void each_pair(Sums& sums, Visit visit) {
#pragma unroll
    for (int f = 0; f < 16; ++f) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            visit(Arithmetic::row(f, h), Arithmetic::column(f, h), sums[f][2 * h], sums[f][2 * h + 1]);
        }
    }
}

// sums <- tile - sums; `tile`: f32 [128, 128].
template <typename Arithmetic>
__device__ __forceinline__ void subtract_from(const float* tile, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float& first, float& second) {
        const float2 pair = *reinterpret_cast<const float2*>(tile + row * TILE + column);
        first = pair.x - first, second = pair.y - second;
    });
}

template <typename Arithmetic>
__device__ __forceinline__ void store(float* tile, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float first, float second) {
        *reinterpret_cast<float2*>(tile + row * TILE + column) = {first, second};
    });
}

// The sums as an operand in shared memory, and back.
template <typename Arithmetic>
__device__ __forceinline__ void store_operand(float* operand, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float first, float second) {
        *reinterpret_cast<float2*>(operand + row * Arithmetic::STRIDE + column) = {first, second};
    });
}

template <typename Arithmetic>
__device__ __forceinline__ void load_operand(const float* operand, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float& first, float& second) {
        const float2 pair = *reinterpret_cast<const float2*>(operand + row * Arithmetic::STRIDE + column);
        first = pair.x, second = pair.y;
    });
}

// ---- operands on their way -----------------------------------------------------------------------------------

// Starts copying one step of an operand, 16 rows of a tile, to shared memory.
template <int STRIDE>
__device__ __forceinline__ void copy_rows(float* to, const float* from) {
#pragma unroll
    for (int value = threadIdx.x * 4; value < DEPTH * TILE; value += THREADS * 4) {
        copy_async_16(shared_address(to + value / TILE * STRIDE + value % TILE), from + value, true);
    }
}

// Two operands, both from column `left` and column `right` of tile rows `first`, `first + 1`, ...
template <int STRIDE>
struct TwoColumns {
    float* ring;
    const float* triangle;
    int first, left, right;

    __device__ __forceinline__ float* left_rows(int step) const { return ring + step % STAGES * 2 * DEPTH * STRIDE; }
    __device__ __forceinline__ float* right_rows(int step) const { return left_rows(step) + DEPTH * STRIDE; }
    __device__ __forceinline__ void copy(int step) const {
        const int row = first + step / STEPS, start = step % STEPS * DEPTH * TILE;
        copy_rows<STRIDE>(left_rows(step), triangle + triangle_tile(row, left) + start);
        copy_rows<STRIDE>(right_rows(step), triangle + triangle_tile(row, right) + start);
    }
};

// The left operand is a tile, the right one lies in shared memory.
template <int STRIDE>
struct TileAndShared {
    float* ring;
    const float* tile;
    const float* operand;

    __device__ __forceinline__ float* left_rows(int step) const { return ring + step % STAGES * DEPTH * STRIDE; }
    __device__ __forceinline__ const float* right_rows(int step) const { return operand + step * DEPTH * STRIDE; }
    __device__ __forceinline__ void copy(int step) const {
        copy_rows<STRIDE>(left_rows(step), tile + step * DEPTH * TILE);
    }
};

// Starts the copies of the first steps; the ring must be free.
template <typename Operands>
__device__ __forceinline__ void start(const Operands& operands, int steps) {
#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) operands.copy(step);
        copy_async_commit();
    }
}

// sums += left^T right after `start`. A barrier must follow before the ring is used again.
template <typename Arithmetic, typename Operands>
__device__ __forceinline__ void multiply(Sums& sums, const Operands& operands, int steps) {
    for (int step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        // Every thread's copies of this step have arrived, and the slot of the step before is free.
        __syncthreads();
        if (step + STAGES - 1 < steps) operands.copy(step + STAGES - 1);
        copy_async_commit();
        Arithmetic::multiply(sums, operands.left_rows(step), operands.right_rows(step));
    }
}
