// Norms over the last dimension.
//
//   layer_norm_modulate    out = (x - mean) / sqrt(variance + epsilon) * (1 + scale) + shift
//                          x, out: T [batch * tokens, width]; scale, shift: T [batch, width]; all with row strides, so
//                          that scale and shift may be parts of one modulation tensor [batch, parts * width]
//   rms_norm               x = x / sqrt(mean of x^2 + epsilon) * weight, in place, for every group of a row
//                          x: T [rows, groups * width]; weight: T [width]
//
// All arithmetic is f32; a result is rounded once. A lane takes runs of 16 bytes:
//
//   layer_norm_modulate: one warp per row                rms_norm: `lanes` lanes per group, 32 / lanes groups per warp
//   run    0    1   ...   31   32   33  ...               | group 0         | group 1         | ..
//   lane   0    1   ...   31    0    1  ...               | lane 0 .. lanes | lane 0 .. lanes |
//
// The mean is taken first and the variance of what is left (a difference of two large sums would cancel), so a row is
// read three times: once from memory, then from the first-level cache, where the rows of a block fit (8 rows of 3072
// 16-bit values are 48 KiB). No barriers.
//
// FLUX.1: 4608 rows of 3072 16-bit values, read and written: 57 MB, 28 us at 2 TB/s (A100), 17 us at 3.35 TB/s (H100).
// Memory is the limit.
#include "common.cuh"

constexpr int WARPS = 8;

// Rows of values of the kernel's element type.
struct Rows {
    void* values;
    int64_t stride;  // values from a row to the next
};

struct LayerNormParams {
    Rows out;
    Rows x;
    Rows scale;
    Rows shift;
    int32_t rows;
    int32_t tokens;  // rows that share a row of scale and shift
    int32_t width;
    int32_t aligned;  // whether every row of all four begins on 16 bytes
    float epsilon;
    int32_t reserved;
};
static_assert(sizeof(LayerNormParams) == 88);

struct RmsNormParams {
    Rows x;
    const void* weight;
    int64_t total;  // rows * groups
    int32_t groups;
    int32_t width;    // of a group
    int32_t lanes;    // per group: a power of two up to 32
    int32_t aligned;  // whether every group and the weight begin on 16 bytes
    float epsilon;
    int32_t reserved;
};
static_assert(sizeof(RmsNormParams) == 56);

template <typename T>
__device__ __forceinline__ T* row_of(const Rows& rows, int64_t row) {
    return static_cast<T*>(rows.values) + row * rows.stride;
}

template <typename T>
__device__ __forceinline__ void layer_norm_modulate(const LayerNormParams& p) {
    constexpr int VALUES = RUN<T>;
    const int row = blockIdx.x * WARPS + threadIdx.x / WARP;
    if (row >= p.rows) return;  // the whole warp
    const int lane = threadIdx.x % WARP;
    const T* x = row_of<const T>(p.x, row);
    const T* scale = row_of<const T>(p.scale, row / p.tokens);
    const T* shift = row_of<const T>(p.shift, row / p.tokens);
    T* out = row_of<T>(p.out, row);

    float values[VALUES];
    float sum = 0.0f;
    for (int start = lane * VALUES; start < p.width; start += WARP * VALUES) {
        load_run(values, x + start, p.width - start, p.aligned);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) sum += values[i];
    }
    const float mean = warp_sum(sum) / p.width;
    float squares = 0.0f;
    for (int start = lane * VALUES; start < p.width; start += WARP * VALUES) {
        load_run(values, x + start, p.width - start, p.aligned);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) {
            const float distance = start + i < p.width ? values[i] - mean : 0.0f;
            squares = fmaf(distance, distance, squares);
        }
    }
    const float inverse = 1.0f / sqrtf(warp_sum(squares) / p.width + p.epsilon);
    for (int start = lane * VALUES; start < p.width; start += WARP * VALUES) {
        float scales[VALUES], shifts[VALUES];
        load_run(values, x + start, p.width - start, p.aligned);
        load_run(scales, scale + start, p.width - start, p.aligned);
        load_run(shifts, shift + start, p.width - start, p.aligned);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) {
            values[i] = fmaf((values[i] - mean) * inverse, 1.0f + scales[i], shifts[i]);
        }
        store_run(out + start, values, p.width - start, p.aligned);
    }
}

template <typename T>
__device__ __forceinline__ void rms_norm(const RmsNormParams& p) {
    constexpr int VALUES = RUN<T>;
    const int lane = threadIdx.x % WARP;
    const int64_t warp = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / WARP;
    const int64_t group = (warp * WARP + lane) / p.lanes;
    const int width = group < p.total ? p.width : 0;  // 0: nothing to do, but the sums below need all lanes
    T* x = row_of<T>(p.x, group / p.groups) + group % p.groups * p.width;
    const T* weight = static_cast<const T*>(p.weight);
    const int first = lane % p.lanes * VALUES, step = p.lanes * VALUES;

    float values[VALUES];
    float squares = 0.0f;
    for (int start = first; start < width; start += step) {
        load_run(values, x + start, width - start, p.aligned);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) squares = fmaf(values[i], values[i], squares);
    }
    for (int offset = p.lanes / 2; offset > 0; offset /= 2) squares += __shfl_xor_sync(ALL_LANES, squares, offset);
    const float inverse = 1.0f / sqrtf(squares / p.width + p.epsilon);
    for (int start = first; start < width; start += step) {
        float weights[VALUES];
        load_run(values, x + start, width - start, p.aligned);
        load_run(weights, weight + start, width - start, p.aligned);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) values[i] *= inverse * weights[i];
        store_run(x + start, values, width - start, p.aligned);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP)
    layer_norm_modulate_f32(const __grid_constant__ LayerNormParams p) {
    layer_norm_modulate<float>(p);
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP)
    layer_norm_modulate_f16(const __grid_constant__ LayerNormParams p) {
    layer_norm_modulate<__half>(p);
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP)
    layer_norm_modulate_bf16(const __grid_constant__ LayerNormParams p) {
    layer_norm_modulate<__nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP) rms_norm_f32(const __grid_constant__ RmsNormParams p) {
    rms_norm<float>(p);
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP) rms_norm_f16(const __grid_constant__ RmsNormParams p) {
    rms_norm<__half>(p);
}

extern "C" __global__ void __launch_bounds__(WARPS * WARP) rms_norm_bf16(const __grid_constant__ RmsNormParams p) {
    rms_norm<__nv_bfloat16>(p);
}
