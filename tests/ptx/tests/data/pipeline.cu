// out[i] = in[i] + the element half a chunk on, chunk by chunk through a ring of cp.async stages. Each thread copies
// 16 bytes per chunk and uses bytes that another thread has copied. The end of `in` is filled with zeros.
#include <cstdint>

struct Pipeline {
    const int* in;  // i32 [n]
    int* out;       // i32 [n]
    int n;
};

constexpr int STAGES = 3;
constexpr int THREADS = 128;
constexpr int CHUNK = 4 * THREADS;

__device__ __forceinline__ void copy16(int* shared, const int* global, int bytes) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(address), "l"(global), "r"(bytes)
                 : "memory");
}

extern "C" __global__ void __launch_bounds__(THREADS) pipeline(const __grid_constant__ Pipeline p) {
    extern __shared__ __align__(16) int ring[];  // i32 [STAGES][CHUNK]
    int chunks = (p.n + CHUNK - 1) / CHUNK;
    auto fetch = [&](int chunk) {
        if (chunk < chunks) {
            int at = chunk * CHUNK + 4 * threadIdx.x;
            int left = p.n - at;
            int bytes = left >= 4 ? 16 : left > 0 ? 4 * left : 0;
            copy16(ring + chunk % STAGES * CHUNK + 4 * threadIdx.x, bytes > 0 ? p.in + at : p.in, bytes);
        }
        asm volatile("cp.async.commit_group;\n" ::: "memory");
    };
    for (int stage = 0; stage < STAGES - 1; stage++) {
        fetch(stage);
    }
    for (int chunk = 0; chunk < chunks; chunk++) {
        asm volatile("cp.async.wait_group %0;\n" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        const int* stage = ring + chunk % STAGES * CHUNK;
        for (int i = threadIdx.x; i < CHUNK; i += THREADS) {
            int at = chunk * CHUNK + i;
            if (at < p.n) {
                p.out[at] = stage[i] + stage[(i + CHUNK / 2) % CHUNK];
            }
        }
        // The stage that is filled next was read before this iteration's barrier.
        fetch(chunk + STAGES - 1);
    }
}
