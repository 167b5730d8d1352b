// Operations on each value alone, on matrices [rows, columns] with row strides; T is f32, f16 or bf16, the arithmetic
// is f32, a result is rounded once.
//
//   gelu             x = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))     x: T [rows, columns]
//   silu             x = x / (1 + e^-x)                                        x: T [rows, columns]
//   add              x += y                                x: T [rows, columns]; y: T [period, columns], repeated
//   gated_residual   out = residual + gate * x             out, residual, x: T [batch * tokens, columns];
//                                                          gate: T [batch, columns]
//   rope             (a, b) = (a cos - b sin, b cos + a sin) for the channels 2i and 2i + 1 of every head
//                    x: T [batch * tokens, heads * head_dim]; cos, sin: f32 [tokens, head_dim / 2]
//   combine          out = keep * out + sum of weight_i * term_i, up to three terms    all f32 [rows, columns]
//   is_finite        flag |= 1 if a value is NaN or infinite                   x: T [rows, columns]
//   convert          out = x, rounded to nearest even       x: S [rows, columns]; out: T [rows, columns]
//
// A thread takes one run of a row: 16 bytes (`convert`: 8 values), read and written whole where rows begin on 16 bytes
// and value by value elsewhere and at a row's end. Neighbouring threads take neighbouring runs. Memory is the limit:
// the largest use, gelu on FLUX.1's [4608, 12288] 16-bit values, moves 226 MB: 0.11 ms on an A100, 0.07 ms on an H100.
#include "common.cuh"

constexpr int THREADS = 256;

struct Rows {
    void* values;
    int64_t stride;  // values from a row to the next
};

// What every operation's parameters begin with.
struct Shape {
    uint32_t rows;
    uint32_t columns;
    uint32_t runs;     // of a row
    uint32_t aligned;  // whether every row of every operand begins on 16 bytes
};

struct ActivateParams {
    Shape shape;
    Rows x;
};
static_assert(sizeof(ActivateParams) == 32);

struct AddParams {
    Shape shape;
    Rows x;
    Rows y;
    uint32_t period;
    uint32_t reserved;
};
static_assert(sizeof(AddParams) == 56);

struct GatedResidualParams {
    Shape shape;
    Rows out;
    Rows residual;
    Rows gate;
    Rows x;
    uint32_t tokens;
    uint32_t reserved;
};
static_assert(sizeof(GatedResidualParams) == 88);

struct RopeParams {
    Shape shape;
    Rows x;
    Rows cos;
    Rows sin;
    uint32_t tokens;
    uint32_t head_dim;
};
static_assert(sizeof(RopeParams) == 72);

constexpr int MAX_TERMS = 3;

struct CombineParams {
    Shape shape;
    Rows out;
    Rows term[MAX_TERMS];
    float weight[MAX_TERMS];
    float keep;  // out is not read if 0
    uint32_t terms;
    uint32_t reserved;
};
static_assert(sizeof(CombineParams) == 104);

struct IsFiniteParams {
    Shape shape;
    Rows x;
    uint32_t* flag;  // 0 before
};
static_assert(sizeof(IsFiniteParams) == 40);

struct ConvertParams {
    Shape shape;
    Rows out;
    Rows x;
};
static_assert(sizeof(ConvertParams) == 48);

// The run of this thread.
struct Place {
    uint32_t row;
    int column;  // its first
    int count;   // columns from there to the row's end
    bool exists;
};

__device__ __forceinline__ Place find_run(const Shape& shape, int values) {
    const uint32_t index = blockIdx.x * THREADS + threadIdx.x;
    const uint32_t row = index / shape.runs;
    const int column = index % shape.runs * values;
    return {row, column, static_cast<int>(shape.columns) - column, row < shape.rows};
}

template <typename T>
__device__ __forceinline__ T* at(const Rows& rows, uint32_t row, int column) {
    return static_cast<T*>(rows.values) + row * rows.stride + column;
}

// 0.5 (1 + tanh u) = 1 / (1 + e^-2u), which keeps the relative accuracy of the negative tail.
__device__ __forceinline__ float gelu(float x) {
    constexpr float TWICE_SQRT_2_OVER_PI = 1.5957691216f;
    const float twice_u = TWICE_SQRT_2_OVER_PI * x * fmaf(0.044715f * x, x, 1.0f);
    return __fdividef(x, 1.0f + expf(-twice_u));
}

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + expf(-x)); }

template <typename T, float (*FUNCTION)(float)>
__device__ __forceinline__ void activate(const ActivateParams& p) {
    const Place place = find_run(p.shape, RUN<T>);
    if (!place.exists) return;
    T* x = at<T>(p.x, place.row, place.column);
    float values[RUN<T>];
    load_run(values, x, place.count, p.shape.aligned);
#pragma unroll
    for (int i = 0; i < RUN<T>; ++i) values[i] = FUNCTION(values[i]);
    store_run(x, values, place.count, p.shape.aligned);
}

template <typename T>
__device__ __forceinline__ void add(const AddParams& p) {
    const Place place = find_run(p.shape, RUN<T>);
    if (!place.exists) return;
    T* x = at<T>(p.x, place.row, place.column);
    float values[RUN<T>], others[RUN<T>];
    load_run(values, x, place.count, p.shape.aligned);
    load_run(others, at<const T>(p.y, place.row % p.period, place.column), place.count, p.shape.aligned);
#pragma unroll
    for (int i = 0; i < RUN<T>; ++i) values[i] += others[i];
    store_run(x, values, place.count, p.shape.aligned);
}

template <typename T>
__device__ __forceinline__ void gated_residual(const GatedResidualParams& p) {
    const Place place = find_run(p.shape, RUN<T>);
    if (!place.exists) return;
    float values[RUN<T>], gates[RUN<T>], others[RUN<T>];
    load_run(values, at<const T>(p.residual, place.row, place.column), place.count, p.shape.aligned);
    load_run(gates, at<const T>(p.gate, place.row / p.tokens, place.column), place.count, p.shape.aligned);
    load_run(others, at<const T>(p.x, place.row, place.column), place.count, p.shape.aligned);
#pragma unroll
    for (int i = 0; i < RUN<T>; ++i) values[i] = fmaf(gates[i], others[i], values[i]);
    store_run(at<T>(p.out, place.row, place.column), values, place.count, p.shape.aligned);
}

// Widths are even, so a run holds whole pairs; it may pass from one head to the next.
template <typename T>
__device__ __forceinline__ void rope(const RopeParams& p) {
    const Place place = find_run(p.shape, RUN<T>);
    if (!place.exists) return;
    T* x = at<T>(p.x, place.row, place.column);
    const float* cosines = at<const float>(p.cos, place.row % p.tokens, 0);
    const float* sines = at<const float>(p.sin, place.row % p.tokens, 0);
    float values[RUN<T>];
    load_run(values, x, place.count, p.shape.aligned);
    uint32_t angle = place.column % p.head_dim / 2;
#pragma unroll
    for (int i = 0; i < RUN<T>; i += 2) {
        if (i < place.count) {
            const float a = values[i], b = values[i + 1];
            values[i] = fmaf(a, cosines[angle], -(b * sines[angle]));
            values[i + 1] = fmaf(b, cosines[angle], a * sines[angle]);
        }
        angle = 2 * (angle + 1) == p.head_dim ? 0 : angle + 1;
    }
    store_run(x, values, place.count, p.shape.aligned);
}

template <typename T>
__device__ __forceinline__ void is_finite(const IsFiniteParams& p) {
    const Place place = find_run(p.shape, RUN<T>);
    if (!place.exists) return;
    float values[RUN<T>];
    load_run(values, at<const T>(p.x, place.row, place.column), place.count, p.shape.aligned);
    bool finite = true;
#pragma unroll
    for (int i = 0; i < RUN<T>; ++i) finite = finite && is_finite(values[i]);
    // The bits of the flag are the same in whatever order threads set them.
    if (!finite) atomicOr(p.flag, 1u);
}

template <typename S, typename T>
__device__ __forceinline__ void convert(const ConvertParams& p) {
    constexpr int VALUES = 8;
    const Place place = find_run(p.shape, VALUES);
    if (!place.exists) return;
    float values[VALUES];
    load_run(values, at<const S>(p.x, place.row, place.column), place.count, p.shape.aligned);
    store_run(at<T>(p.out, place.row, place.column), values, place.count, p.shape.aligned);
}

extern "C" __global__ void __launch_bounds__(THREADS) combine(const __grid_constant__ CombineParams p) {
    constexpr int VALUES = RUN<float>;
    const Place place = find_run(p.shape, VALUES);
    if (!place.exists) return;
    float* out = at<float>(p.out, place.row, place.column);
    float sums[VALUES] = {};
    float values[VALUES];
    if (p.keep != 0.0f) {
        load_run(values, out, place.count, p.shape.aligned);
#pragma unroll
        for (int i = 0; i < VALUES; ++i) sums[i] = p.keep * values[i];
    }
#pragma unroll
    for (int term = 0; term < MAX_TERMS; ++term) {
        if (term < p.terms) {
            const float* from = at<const float>(p.term[term], place.row, place.column);
            load_run(values, from, place.count, p.shape.aligned);
#pragma unroll
            for (int i = 0; i < VALUES; ++i) sums[i] = fmaf(p.weight[term], values[i], sums[i]);
        }
    }
    store_run(out, sums, place.count, p.shape.aligned);
}

extern "C" __global__ void __launch_bounds__(THREADS) gelu_f32(const __grid_constant__ ActivateParams p) {
    activate<float, gelu>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) gelu_f16(const __grid_constant__ ActivateParams p) {
    activate<__half, gelu>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) gelu_bf16(const __grid_constant__ ActivateParams p) {
    activate<__nv_bfloat16, gelu>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) silu_f32(const __grid_constant__ ActivateParams p) {
    activate<float, silu>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) silu_f16(const __grid_constant__ ActivateParams p) {
    activate<__half, silu>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) silu_bf16(const __grid_constant__ ActivateParams p) {
    activate<__nv_bfloat16, silu>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) add_f32(const __grid_constant__ AddParams p) {
    add<float>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) add_f16(const __grid_constant__ AddParams p) {
    add<__half>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) add_bf16(const __grid_constant__ AddParams p) {
    add<__nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gated_residual_f32(const __grid_constant__ GatedResidualParams p) {
    gated_residual<float>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gated_residual_f16(const __grid_constant__ GatedResidualParams p) {
    gated_residual<__half>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    gated_residual_bf16(const __grid_constant__ GatedResidualParams p) {
    gated_residual<__nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) rope_f32(const __grid_constant__ RopeParams p) {
    rope<float>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) rope_f16(const __grid_constant__ RopeParams p) {
    rope<__half>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) rope_bf16(const __grid_constant__ RopeParams p) {
    rope<__nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) is_finite_f32(const __grid_constant__ IsFiniteParams p) {
    is_finite<float>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) is_finite_f16(const __grid_constant__ IsFiniteParams p) {
    is_finite<__half>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) is_finite_bf16(const __grid_constant__ IsFiniteParams p) {
    is_finite<__nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) convert_f32_f16(const __grid_constant__ ConvertParams p) {
    convert<float, __half>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) convert_f32_bf16(const __grid_constant__ ConvertParams p) {
    convert<float, __nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) convert_f16_f32(const __grid_constant__ ConvertParams p) {
    convert<__half, float>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) convert_f16_bf16(const __grid_constant__ ConvertParams p) {
    convert<__half, __nv_bfloat16>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) convert_bf16_f32(const __grid_constant__ ConvertParams p) {
    convert<__nv_bfloat16, float>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) convert_bf16_f16(const __grid_constant__ ConvertParams p) {
    convert<__nv_bfloat16, __half>(p);
}
