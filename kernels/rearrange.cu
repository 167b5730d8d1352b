// Copies that change only where values lie; a value is 2 or 4 bytes of any type.
//
//   copy_rows      to[r, c] = from[r, c]: rows with different strides. Parts of a row (chunk, narrow) and concatenation
//                  along any axis are such copies: [batch, tokens, width] is batch rows of tokens * width values along
//                  axis 1 and batch * tokens rows of width values along axis 2.
//   strided_copy   to[i0, .., i5] = from[sum of i_k * stride_k], `to` without gaps: axes in another order, windows.
//
// Latents [b, c, H, W] as patches of p by p, with H = rows * p and W = columns * p, are a strided copy:
//
//     shape     b       rows   columns   c     p    p
//     strides   c H W   p W    p         H W   W    1
//
// One thread per unit of `copy_rows` (16 bytes where everything is a multiple of them, else one value) and per value of
// `strided_copy`, which runs on latents and position tables alone: 64 x 128 x 128 values at most. Memory is the limit:
// FLUX.1's concatenation [4608, 15360] of 16-bit values moves 283 MB, 0.14 ms on an A100; attention writes into the
// concatenation itself where it can.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int MAX_AXES = 6;

struct CopyRowsParams {
    const void* from;
    void* to;
    int64_t from_stride;  // units from a row to the next
    int64_t to_stride;
    uint32_t rows;
    uint32_t units;  // of a row
};
static_assert(sizeof(CopyRowsParams) == 40);

struct StridedCopyParams {
    const void* from;
    void* to;
    int64_t stride[MAX_AXES];  // values in `from` from an index of an axis to the next
    uint32_t size[MAX_AXES];   // of the axes of `to`, the fastest last; 1 where there is none
    uint32_t total;            // their product
    uint32_t reserved;
};
static_assert(sizeof(StridedCopyParams) == 96);

template <typename Unit>
__device__ __forceinline__ void copy_rows(const CopyRowsParams& p) {
    const uint32_t index = blockIdx.x * THREADS + threadIdx.x;
    const uint32_t row = index / p.units, unit = index % p.units;
    if (row >= p.rows) return;
    const Unit* from = static_cast<const Unit*>(p.from) + row * p.from_stride;
    Unit* to = static_cast<Unit*>(p.to) + row * p.to_stride;
    to[unit] = from[unit];
}

template <typename Unit>
__device__ __forceinline__ void strided_copy(const StridedCopyParams& p) {
    const uint32_t index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= p.total) return;
    uint32_t rest = index;
    int64_t place = 0;
#pragma unroll
    for (int k = MAX_AXES - 1; k >= 0; --k) {
        place += rest % p.size[k] * p.stride[k];
        rest /= p.size[k];
    }
    static_cast<Unit*>(p.to)[index] = static_cast<const Unit*>(p.from)[place];
}

extern "C" __global__ void __launch_bounds__(THREADS) copy_rows_16(const __grid_constant__ CopyRowsParams p) {
    copy_rows<uint4>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) copy_rows_4(const __grid_constant__ CopyRowsParams p) {
    copy_rows<uint32_t>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) copy_rows_2(const __grid_constant__ CopyRowsParams p) {
    copy_rows<uint16_t>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    strided_copy_4(const __grid_constant__ StridedCopyParams p) {
    strided_copy<uint32_t>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    strided_copy_2(const __grid_constant__ StridedCopyParams p) {
    strided_copy<uint16_t>(p);
}
