// PTX instructions and small device functions that all kernels share. Every instruction is wrapped once, here,
// with its section of the PTX ISA (version 9.0).
//
// Fragments of the tensor-core products, lane L of a warp with g = L / 4 and t = L % 4 (PTX ISA 9.7.14.5):
//
//   m16n8k16, 16-bit    A: a0 = (g, 2t..)  a1 = (g+8, 2t..)  a2 = (g, 2t+8..)  a3 = (g+8, 2t+8..)   two columns each
//                       B: b0 = (2t.., g)  b1 = (2t+8.., g)                                        two rows each
//   m16n8k8, tf32       A: a0 = (g, t)  a1 = (g+8, t)  a2 = (g, t+4)  a3 = (g+8, t+4)
//                       B: b0 = (t, g)  b1 = (t+4, g)
//   accumulators, f32   c0 = (g, 2t)  c1 = (g, 2t+1)  c2 = (g+8, 2t)  c3 = (g+8, 2t+1)
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

// Rows and columns of a tile of a packed triangle: `TILE` of src/triangle.rs.
constexpr int TRIANGLE_TILE = 128;
constexpr int TRIANGLE_TILE_VALUES = TRIANGLE_TILE * TRIANGLE_TILE;

// Position of the first value of tile (i, j), j <= i, of a packed triangle.
__device__ __forceinline__ size_t triangle_tile(int i, int j) {
    return (static_cast<size_t>(i) * (i + 1) / 2 + j) * TRIANGLE_TILE_VALUES;
}

constexpr int WARP = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

__host__ __device__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// ---- shared memory and asynchronous copies -------------------------------------------------------------------

// Address in the shared window, as the instructions below take it.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes from global to shared memory, past the first-level cache; zeros if not `valid`, and then nothing is
// read. Both addresses 16-byte aligned. cp.async, PTX ISA 9.7.9.25.3.1.
__device__ __forceinline__ void copy_async_16(uint32_t to_shared, const void* from, bool valid) {
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to_shared), "l"(from), "r"(bytes) : "memory");
}

// The same for 4 bytes, through the first-level cache: for rows that do not begin on 16 bytes.
__device__ __forceinline__ void copy_async_4(uint32_t to_shared, const void* from, bool valid) {
    const int bytes = valid ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to_shared), "l"(from), "r"(bytes) : "memory");
}

// Ends a group of copies of this thread. PTX ISA 9.7.9.25.3.2.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's groups are under way; a barrier must follow before other threads
// read. PTX ISA 9.7.9.25.3.3.
template <int PENDING>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8 x 8 matrices of 16-bit values; lanes 8i..8i+7 give the row addresses of matrix i, register i receives
// values (L / 4, 2 (L % 4)..) of it. ldmatrix, PTX ISA 9.7.14.5.15.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&to)[4], uint32_t row_address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row_address)
                 : "memory");
}

// The same, each matrix transposed on the way.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&to)[4], uint32_t row_address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row_address)
                 : "memory");
}

// ---- tensor cores --------------------------------------------------------------------------------------------

// d += a b: 16 x 8 += 16 x 16 times 16 x 8, 16-bit inputs, f32 sums. mma.m16n8k16, PTX ISA 9.7.14.5.8.
template <typename T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void multiply_add<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4],
                                                            const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void multiply_add<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d += a b: 16 x 8 += 16 x 8 times 8 x 8, tf32 inputs (f32 with the low 13 bits zero), f32 sums.
// mma.m16n8k8, PTX ISA 9.7.14.5.7.
__device__ __forceinline__ void multiply_add_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// x rounded to tf32, ties away from zero. cvt.rna.tf32.f32, PTX ISA 9.7.9.21.
__device__ __forceinline__ uint32_t to_tf32(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// x = high + low with both tf32: 21 of the 24 bits of x or more. Products of such pairs, the smallest of the four
// left out, carry float32's accuracy ("3xTF32").
struct SplitTf32 {
    uint32_t high, low;
};

__device__ __forceinline__ SplitTf32 split_tf32(float x) {
    const uint32_t high = to_tf32(x);
    return {high, to_tf32(x - __uint_as_float(high))};
}

// d += a b in float32 accuracy, the small terms first.
__device__ __forceinline__ void multiply_add_3xtf32(float (&d)[4], const uint32_t (&a_high)[4],
                                                    const uint32_t (&a_low)[4], const uint32_t (&b_high)[2],
                                                    const uint32_t (&b_low)[2]) {
    multiply_add_tf32(d, a_low, b_high);
    multiply_add_tf32(d, a_high, b_low);
    multiply_add_tf32(d, a_high, b_high);
}

// d += a b with A 2:4 sparse: 16 x 8 += 16 x 32 (16 stored) times 32 x 8. `metadata` as PTX ISA 9.7.14.6.2.1
// lays it out; lanes SELECTOR * 2 and SELECTOR * 2 + 1 of each four give it. mma.sp::ordered_metadata.m16n8k32,
// PTX ISA 9.7.14.6.
template <typename T, int SELECTOR>
__device__ __forceinline__ void multiply_add_sparse(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[4],
                                                    uint32_t metadata) {
    if constexpr (sizeof(T) == 2 && __is_same(T, __nv_bfloat16)) {
        asm volatile(
            "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
            "{%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(metadata),
              "n"(SELECTOR));
    } else {
        asm volatile(
            "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
            "{%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(metadata),
              "n"(SELECTOR));
    }
}

// ---- numbers -------------------------------------------------------------------------------------------------

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

// x rounded to T, ties to even.
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ __half from_float<__half>(float x) { return __float2half_rn(x); }
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// 2^x; subnormal results become 0, 2^-inf is 0, NaN stays. Relative error below 2^-22. ex2.approx.ftz.f32, PTX ISA
// 9.7.3.21.
__device__ __forceinline__ float exp2_approx(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// Two values rounded to T, ties to even; `low` in the lower half.
template <typename T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
    const __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&both);
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&both);
}

// Hides from the compiler that x is what it was: what follows from it is computed where it stands, not ahead of a
// loop at the price of registers. No instruction.
__device__ __forceinline__ void compute_here(float& x) { asm volatile("" : "+f"(x)); }

// Neither NaN nor infinite.
__device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// ---- runs of values in global memory --------------------------------------------------------------------------

// Values in 16 bytes.
template <typename T>
constexpr int RUN = 16 / sizeof(T);

// The first `count` of COUNT consecutive values; the others are 0. 16 bytes at a time if `from` is `aligned` to them
// and the run is whole.
template <int COUNT, typename T>
__device__ __forceinline__ void load_run(float (&to)[COUNT], const T* from, int count, bool aligned) {
    static_assert(COUNT % RUN<T> == 0);
    if (aligned && count >= COUNT) {
#pragma unroll
        for (int start = 0; start < COUNT; start += RUN<T>) {
            alignas(16) T values[RUN<T>];
            *reinterpret_cast<uint4*>(values) = *reinterpret_cast<const uint4*>(from + start);
#pragma unroll
            for (int i = 0; i < RUN<T>; ++i) to[start + i] = to_float(values[i]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
    }
}

// Rounds and writes the first `count` values of a run.
template <int COUNT, typename T>
__device__ __forceinline__ void store_run(T* to, const float (&from)[COUNT], int count, bool aligned) {
    static_assert(COUNT % RUN<T> == 0);
    if (aligned && count >= COUNT) {
#pragma unroll
        for (int start = 0; start < COUNT; start += RUN<T>) {
            alignas(16) T values[RUN<T>];
#pragma unroll
            for (int i = 0; i < RUN<T>; ++i) values[i] = from_float<T>(from[start + i]);
            *reinterpret_cast<uint4*>(to + start) = *reinterpret_cast<const uint4*>(values);
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (i < count) to[i] = from_float<T>(from[i]);
        }
    }
}

// ---- reductions in a fixed order -----------------------------------------------------------------------------

// Sum over the warp, the same bits in every lane.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// Largest value of the warp, in every lane.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, offset));
    return value;
}

// Sum over a block of THREADS threads, the same bits in every thread: warps first, then the warps' sums in order.
// `shared` holds THREADS / 32 values and is not used again before the block's next barrier.
template <int THREADS, typename T>
__device__ __forceinline__ T block_sum(T value, T* shared) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = value;
    __syncthreads();
    T sum = shared[0];
#pragma unroll
    for (int warp = 1; warp < THREADS / WARP; ++warp) sum += shared[warp];
    return sum;
}
