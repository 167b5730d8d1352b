// Y = X W^T + bias with W 2:4 sparse: at most two of each four neighbouring weights of a row are not zero, and the
// tensor cores (mma.sp) multiply only those two.
//
//   X: 16-bit [tokens, columns], row-major, rows on 16 bytes, columns a multiple of 32
//   W: values 16-bit [features, columns / 2], row-major; metadata u32 [columns / 32, metadata_rows] in register
//      order (pack24.cu)
//   Y: 16-bit [tokens, features], row-major, of X's format; sums in f32, bias added in f32, rounded once
//
// X is taken to be finite: the PTX ISA leaves open whether a weight that is not stored multiplies as a zero, which
// an infinity or NaN in X would show.
//
// How a tile is computed: pipeline.cuh. W and its metadata per K tile of 64 columns, tile of M features:
//
//          32 stored columns              64 columns = 2 steps
//        +-------------------+          +--------+--------+       word of row r, step s: bits 0-15 index two of
//      M |   64-byte rows    |     2 x  | u32 x M, 4 M B  |       each four of columns 16 t.. of row r, bits 16-31
//        +-------------------+          +-----------------+       of row r + 8: lane r % 8 * 4 + t of a warp
//
// A warp loads the words of 32 rows and a step as 128 contiguous bytes, one per lane; lanes 4i and 4i + 1 hold what
// the first 16 rows need (selector 0), lanes 4i + 2 and 4i + 3 what the others do (selector 1).
//
// What limits it. mma.sp.m16n8k32 takes as long as mma.m16n8k16 and does twice the columns, so shared memory has to
// deliver X twice as fast as for a dense product. Per step a warp of 64 x 64 loads 2 KiB of W, 4 KiB of X and 1/4
// KiB of metadata, 50 cycles of an SM's 128 bytes per cycle, for 32 products of 2 cycles (A100): tensor cores
// limit. A warp of 64 x 32 loads 4.25 KiB, 34 cycles, for 16 products, 32 cycles: even. Hence 256 x 128 where the
// block's memory allows, 256 features by 128 tokens since a row of W costs half the bytes of one of X.
//
// Floor at peak rates of 2:4 products (A100: 624 TFLOP/s dense-equivalent, 1.56 TB/s; H100 SXM: 1979 TFLOP/s and
// 3.35 TB/s; mma.sp reaches about 5/8 of the latter, wgmma would be needed for the rest), 4608 tokens, bytes read
// and written once:
//
//   FLUX.1 layer           features  columns   GFLOP    MB    A100 us          H100 us (5/8 of peak)
//   to_q, to_k, to_v, out     3072     3072     87.0    67    139              44 (70)
//   ff.net.0, proj_mlp       12288     3072    347.9   184    558             176 (281)
//   ff.net.2                  3072    12288    347.9   184    558             176 (281)
//   proj_out (single)         3072    15360    434.9   223    697             220 (352)
//
// All of them are far on the arithmetic side (bytes take 43 to 143 us on A100, 20 to 67 us on H100). With few tokens
// the weights' bytes are the floor: 16 tokens through 3072 x 12288 read 42.5 MB, 27 us on A100, 13 us on H100, where
// a dense product reads 75.5 MB.

#include "pipeline.cuh"

// Three stages of two blocks fill an A100's 164 KiB in the square tile; the other tiles take what one or more blocks
// per SM leave. Bytes of shared memory: 139,264, 76,800, 51,200, 34,816.
using Wide = Tile<256, 128, 4, 2, 4>;
using Square = Tile<128, 128, 2, 4, 3>;
using Narrow = Tile<64, 64, 2, 2, 4>;
using Narrowest = Tile<64, 32, 2, 2, 4>;

extern "C" __global__ void __launch_bounds__(Wide::THREADS, 1)
    spmm24_bf16_256x128(const __grid_constant__ ProductParams p) {
    product<Sparse16<__nv_bfloat16>, Wide, true>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 2)
    spmm24_bf16_128x128(const __grid_constant__ ProductParams p) {
    product<Sparse16<__nv_bfloat16>, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrow::THREADS, 3)
    spmm24_bf16_64x64(const __grid_constant__ ProductParams p) {
    product<Sparse16<__nv_bfloat16>, Narrow, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 4)
    spmm24_bf16_64x32(const __grid_constant__ ProductParams p) {
    product<Sparse16<__nv_bfloat16>, Narrowest, true>(p);
}

extern "C" __global__ void __launch_bounds__(Wide::THREADS, 1)
    spmm24_f16_256x128(const __grid_constant__ ProductParams p) {
    product<Sparse16<__half>, Wide, true>(p);
}

extern "C" __global__ void __launch_bounds__(Square::THREADS, 2)
    spmm24_f16_128x128(const __grid_constant__ ProductParams p) {
    product<Sparse16<__half>, Square, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrow::THREADS, 3)
    spmm24_f16_64x64(const __grid_constant__ ProductParams p) {
    product<Sparse16<__half>, Narrow, true>(p);
}

extern "C" __global__ void __launch_bounds__(Narrowest::THREADS, 4)
    spmm24_f16_64x32(const __grid_constant__ ProductParams p) {
    product<Sparse16<__half>, Narrowest, true>(p);
}
