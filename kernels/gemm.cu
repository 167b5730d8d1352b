// Y = X W^T + bias with dense W: the forward pass' `linear`, and the dense twin that spmm24 is compared with.
//
//   X: f32, f16 or bf16 [tokens, columns], row-major
//   W: [features, columns], row-major; of X's format, or f16 or bf16 under an f32 X
//   Y: [tokens, features], row-major, of X's format; sums in f32, bias added in f32, rounded once
//
// How a tile is computed: pipeline.cuh. A K tile holds 64 columns of 16-bit operands and 32 of f32.
//
// f32 products carry float32's accuracy: every f32 operand is split into two tf32, and the three products of
// their parts that matter are summed (3xTF32). A 16-bit W is one exact tf32, so that two products do.
//
// `unaligned` variants take rows that begin anywhere and any number of columns; they copy value by value without
// cp.async and serve the few small odd shapes (a row of 3 timestep values, 2049 columns), not speed.
//
// What limits it. A warp of 64 x 64 loads 4 KiB of fragments per 16 columns, 32 cycles of shared memory, for 32
// products of 2 cycles (A100): tensor cores limit. A warp of 64 x 32: 24 cycles for 32.
//
// Floor at peak rates (A100: 312 TFLOP/s 16-bit, 156 TF32, 1.56 TB/s; H100 SXM: 989, 495, 3.35 TB/s, of which mma.sync
// reaches about 5/8), 4608 tokens; f32 takes three products at the TF32 rate:
//
//   FLUX.1 layer           features  columns   GFLOP    A100 us, 16-bit    f32    H100 us, 16-bit    f32
//   to_q, to_k, to_v, out     3072     3072     87.0         279          1672          88           527
//   ff.net.0, proj_mlp       12288     3072    347.9        1115          6690         352          2108
//   ff.net.2                  3072    12288    347.9        1115          6690         352          2108
//   proj_out (single)         3072    15360    434.9        1394          8363         440          2636
//
// All are far on the arithmetic side: the largest moves 264 MB in 16 bits, 169 us on A100, 79 us on H100.

#include "pipeline.cuh"

// Bytes of shared memory with 16-bit operands: 147,456, 98,304, 65,536, 49,152; the square tile is the largest that
// devices with 99 KiB per block take. f32 has the same bytes per K tile; 16-bit W under f32 X less.
using Wide = Tile<256, 128, 4, 2, 3>;
using Square = Tile<128, 128, 2, 4, 3>;
using Narrow = Tile<64, 64, 2, 2, 4>;
using Narrowest = Tile<64, 32, 2, 2, 4>;

extern "C" __global__ void __launch_bounds__(Wide::THREADS, 1)
    gemm_bf16_bf16_256x128(const __grid_constant__ ProductParams p) {
    product<Dense16<__nv_bfloat16>, Wide, true>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 2)
    gemm_bf16_bf16_128x128(const __grid_constant__ ProductParams p) {
    product<Dense16<__nv_bfloat16>, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrow::THREADS, 3)
    gemm_bf16_bf16_64x64(const __grid_constant__ ProductParams p) {
    product<Dense16<__nv_bfloat16>, Narrow, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 4)
    gemm_bf16_bf16_64x32(const __grid_constant__ ProductParams p) {
    product<Dense16<__nv_bfloat16>, Narrowest, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 1)
    gemm_bf16_bf16_unaligned(const __grid_constant__ ProductParams p) {
    product<Dense16<__nv_bfloat16>, Narrowest, false>(p);
}

extern "C" __global__ void __launch_bounds__(Wide::THREADS, 1)
    gemm_f16_f16_256x128(const __grid_constant__ ProductParams p) {
    product<Dense16<__half>, Wide, true>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 2)
    gemm_f16_f16_128x128(const __grid_constant__ ProductParams p) {
    product<Dense16<__half>, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrow::THREADS, 3)
    gemm_f16_f16_64x64(const __grid_constant__ ProductParams p) {
    product<Dense16<__half>, Narrow, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 4)
    gemm_f16_f16_64x32(const __grid_constant__ ProductParams p) {
    product<Dense16<__half>, Narrowest, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 1)
    gemm_f16_f16_unaligned(const __grid_constant__ ProductParams p) {
    product<Dense16<__half>, Narrowest, false>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 1)
    gemm_f32_f32_128x128(const __grid_constant__ ProductParams p) {
    product<Dense32, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 3)
    gemm_f32_f32_64x32(const __grid_constant__ ProductParams p) {
    product<Dense32, Narrowest, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 1)
    gemm_f32_f32_unaligned(const __grid_constant__ ProductParams p) {
    product<Dense32, Narrowest, false>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 1)
    gemm_f32_bf16_128x128(const __grid_constant__ ProductParams p) {
    product<Widened32<__nv_bfloat16>, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 3)
    gemm_f32_bf16_64x32(const __grid_constant__ ProductParams p) {
    product<Widened32<__nv_bfloat16>, Narrowest, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 1)
    gemm_f32_bf16_unaligned(const __grid_constant__ ProductParams p) {
    product<Widened32<__nv_bfloat16>, Narrowest, false>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 1)
    gemm_f32_f16_128x128(const __grid_constant__ ProductParams p) {
    product<Widened32<__half>, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 3)
    gemm_f32_f16_64x32(const __grid_constant__ ProductParams p) {
    product<Widened32<__half>, Narrowest, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 1)
    gemm_f32_f16_unaligned(const __grid_constant__ ProductParams p) {
    product<Widened32<__half>, Narrowest, false>(p);
}
