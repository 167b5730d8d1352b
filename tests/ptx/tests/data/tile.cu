// C = A B^T for one 16 x 8 tile: the k loop of a tensor-core GEMM with ldmatrix and mma.m16n8k16.
#include <cuda_bf16.h>

#include <cstdint>

struct Tile {
    const __nv_bfloat16* a;  // bf16 [16, k]
    const __nv_bfloat16* b;  // bf16 [8, k]
    float* c;                // f32 [16, 8]
    int k;                   // a multiple of 16
};

extern "C" __global__ void __launch_bounds__(32) tile(const __grid_constant__ Tile p) {
    __shared__ __align__(16) __nv_bfloat16 a[16][24];
    __shared__ __align__(16) __nv_bfloat16 b[8][24];
    int lane = threadIdx.x;
    float c[4] = {};
    for (int k = 0; k < p.k; k += 16) {
        // 16 bytes per lane: rows of A by two, rows of B by two with half of the lanes.
        *reinterpret_cast<int4*>(&a[lane / 2][lane % 2 * 8]) =
            *reinterpret_cast<const int4*>(p.a + lane / 2 * p.k + k + lane % 2 * 8);
        if (lane < 16) {
            *reinterpret_cast<int4*>(&b[lane / 2][lane % 2 * 8]) =
                *reinterpret_cast<const int4*>(p.b + lane / 2 * p.k + k + lane % 2 * 8);
        }
        __syncwarp();
        uint32_t ra[4], rb[2];
        uint32_t from_a = static_cast<uint32_t>(__cvta_generic_to_shared(&a[lane % 16][lane / 16 * 8]));
        uint32_t from_b = static_cast<uint32_t>(__cvta_generic_to_shared(&b[lane % 8][lane / 8 % 2 * 8]));
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                     : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3])
                     : "r"(from_a)
                     : "memory");
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
                     : "=r"(rb[0]), "=r"(rb[1])
                     : "r"(from_b)
                     : "memory");
        asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
            "{%0, %1, %2, %3};\n"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
        __syncwarp();
    }
    for (int i = 0; i < 4; i++) {
        p.c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
    }
}
