// The operand formats of the products in gemm.cu and spmm24.cu: what one step of K multiplies.
//
// A step is 32 bytes of every stored row of W, one ldmatrix.x4 per 16 rows. In each struct below `Weight` holds 16
// rows of W and `Tokens` 8 rows of X, both made of the registers that were loaded and as the product takes them.
#pragma once

#include "common.cuh"

// 16-bit X and W: a step is 16 columns, one mma.m16n8k16.
template <typename T>
struct Dense16 {
    using X = T;
    using W = T;
    static constexpr bool SPARSE = false;
    static constexpr int X_STEP_BYTES = 32;
    struct Weight {
        uint32_t raw[4];
    };
    struct Tokens {
        uint32_t raw[2];
    };

    static __device__ __forceinline__ Weight weight(const uint32_t (&raw)[4]) {
        return {{raw[0], raw[1], raw[2], raw[3]}};
    }
    static __device__ __forceinline__ Tokens tokens(const uint32_t (&raw)[2]) { return {{raw[0], raw[1]}}; }

    template <int SELECTOR>
    static __device__ __forceinline__ void multiply(float (&d)[4], const Weight& w, const Tokens& x, uint32_t) {
        multiply_add<T>(d, w.raw, x.raw);
    }
};

// 16-bit X, 2:4 sparse 16-bit W: a step is 32 columns of which W stores 16, one mma.sp.m16n8k32.
template <typename T>
struct Sparse16 {
    using X = T;
    using W = T;
    static constexpr bool SPARSE = true;
    static constexpr int X_STEP_BYTES = 64;
    struct Weight {
        uint32_t raw[4];
    };
    struct Tokens {
        uint32_t raw[4];
    };

    static __device__ __forceinline__ Weight weight(const uint32_t (&raw)[4]) {
        return {{raw[0], raw[1], raw[2], raw[3]}};
    }
    static __device__ __forceinline__ Tokens tokens(const uint32_t (&raw)[4]) {
        return {{raw[0], raw[1], raw[2], raw[3]}};
    }

    template <int SELECTOR>
    static __device__ __forceinline__ void multiply(float (&d)[4], const Weight& w, const Tokens& x,
                                                    uint32_t metadata) {
        multiply_add_sparse<T, SELECTOR>(d, w.raw, x.raw, metadata);
    }
};

// f32 X and W in float32 accuracy: a step is 8 columns, three mma.m16n8k8.
struct Dense32 {
    using X = float;
    using W = float;
    static constexpr bool SPARSE = false;
    static constexpr int X_STEP_BYTES = 32;
    struct Weight {
        uint32_t high[4], low[4];
    };
    struct Tokens {
        uint32_t high[2], low[2];
    };

    static __device__ __forceinline__ Weight weight(const uint32_t (&raw)[4]) {
        Weight w;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const SplitTf32 split = split_tf32(__uint_as_float(raw[i]));
            w.high[i] = split.high;
            w.low[i] = split.low;
        }
        return w;
    }
    static __device__ __forceinline__ Tokens tokens(const uint32_t (&raw)[2]) {
        Tokens x;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const SplitTf32 split = split_tf32(__uint_as_float(raw[i]));
            x.high[i] = split.high;
            x.low[i] = split.low;
        }
        return x;
    }

    template <int SELECTOR>
    static __device__ __forceinline__ void multiply(float (&d)[4], const Weight& w, const Tokens& x, uint32_t) {
        multiply_add_3xtf32(d, w.high, w.low, x.high, x.low);
    }
};

// f32 X, 16-bit W: a step is 16 columns, four mma.m16n8k8. f16 and bf16 are exact in tf32, so that only X is split.
// Products may take K in any order that both operands share: the two columns 2t, 2t + 1 that lane t finds in one
// register of W become rows t and t + 4 of the product.
template <typename T>
struct Widened32 {
    using X = float;
    using W = T;
    static constexpr bool SPARSE = false;
    static constexpr int X_STEP_BYTES = 64;
    struct Weight {
        uint32_t half[2][4];
    };
    struct Tokens {
        uint32_t high[2][2], low[2][2];
    };

    static __device__ __forceinline__ float2 widen(uint32_t pair) {
        if constexpr (__is_same(T, __half)) {
            return {__half2float(__ushort_as_half(static_cast<unsigned short>(pair & 0xffffu))),
                    __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)))};
        } else {
            return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
        }
    }
    static __device__ __forceinline__ Weight weight(const uint32_t (&raw)[4]) {
        Weight w;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float2 pair = widen(raw[i]);
            w.half[i / 2][i % 2] = __float_as_uint(pair.x);
            w.half[i / 2][i % 2 + 2] = __float_as_uint(pair.y);
        }
        return w;
    }
    static __device__ __forceinline__ Tokens tokens(const uint32_t (&raw)[4]) {
        Tokens x;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const SplitTf32 split = split_tf32(__uint_as_float(raw[i]));
            x.high[i / 2][i % 2] = split.high;
            x.low[i / 2][i % 2] = split.low;
        }
        return x;
    }

    template <int SELECTOR>
    static __device__ __forceinline__ void multiply(float (&d)[4], const Weight& w, const Tokens& x, uint32_t) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            multiply_add_tf32(d, w.half[half], x.low[half]);
            multiply_add_tf32(d, w.half[half], x.high[half]);
        }
    }
};
