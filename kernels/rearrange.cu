// Copies that change only where values lie; a value is 2 or 4 bytes of any type.
//
//   copy_rows   to[r, c] = from[r, c]: rows with different strides. Parts of a row (chunk, narrow) and concatenation
//               along any axis are such copies: [batch, tokens, width] is batch rows of tokens * width values along
//               axis 1 and batch * tokens rows of width values along axis 2.
//   permute     to[i0, .., i5] = from[sum of i_k * stride_k], `to` contiguous: transposed, cropped and repeated views.
//
//   patchify, patch p: [b, c, rows * p, columns * p] -> [b, rows, columns, c, p, p]
//                       dimensions  b       rows           columns   c              p              p
//                       strides     c H W   p W            p         H W            W              1
//
// One thread per unit of `copy_rows` (16 bytes where everything is a multiple of them, else one value) and per value of
// `permute`, which runs on latents and position tables alone: 64 x 128 x 128 values at most. Memory is the limit:
// FLUX.1's concatenation [4608, 15360] of 16-bit values moves 283 MB, 0.14 ms on an A100; attention writes into the
// concatenation itself where it can.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int MAX_DIMENSIONS = 6;

struct CopyRowsParams {
    const void* from;
    void* to;
    int64_t from_stride;  // units from a row to the next
    int64_t to_stride;
    uint32_t rows;
    uint32_t units;  // of a row
};
static_assert(sizeof(CopyRowsParams) == 40);

struct PermuteParams {
    const void* from;
    void* to;
    int64_t stride[MAX_DIMENSIONS];      // values in `from` from an index of a dimension to the next
    uint32_t dimension[MAX_DIMENSIONS];  // of `to`, the fastest last, 1 where there is none
    uint32_t total;                      // their product
    uint32_t reserved;
};
static_assert(sizeof(PermuteParams) == 96);

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
__device__ __forceinline__ void permute(const PermuteParams& p) {
    const uint32_t index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= p.total) return;
    uint32_t rest = index;
    int64_t place = 0;
#pragma unroll
    for (int k = MAX_DIMENSIONS - 1; k >= 0; --k) {
        place += rest % p.dimension[k] * p.stride[k];
        rest /= p.dimension[k];
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

extern "C" __global__ void __launch_bounds__(THREADS) permute_4(const __grid_constant__ PermuteParams p) {
    permute<uint32_t>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) permute_2(const __grid_constant__ PermuteParams p) {
    permute<uint16_t>(p);
}
