// Planted defects, each with a clean twin: `<name>` is wrong, `<name>_clean` differs in the defect only. All kernels run
// as 2 blocks of 128 threads on the same parameters.
#include <cstdint>

struct Buffers {
    const int* in;  // i32 [256]
    int* out;       // i32 [256]
    int* scratch;   // i32 [256], zeros
    int n;          // 256
};

// A kernel template and its two instances.
#define TWINS(name)                                                                                      \
    extern "C" __global__ void name(const __grid_constant__ Buffers p) { name##_body<true>(p); }         \
    extern "C" __global__ void name##_clean(const __grid_constant__ Buffers p) { name##_body<false>(p); }

__device__ __forceinline__ void copy16(int* shared, const int* global) {
    uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(address), "l"(global) : "memory");
}

__device__ __forceinline__ int element() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Neighbouring warps exchange through shared memory.
template <bool DEFECT>
__device__ void missing_syncthreads_body(const Buffers& p) {
    __shared__ int box[128];
    box[threadIdx.x] = p.in[element()];
    if (!DEFECT) __syncthreads();
    p.out[element()] = box[127 - threadIdx.x];
}
TWINS(missing_syncthreads)

// A second round overwrites what others still read.
template <bool DEFECT>
__device__ void missing_second_barrier_body(const Buffers& p) {
    __shared__ int box[128];
    int sum = 0;
    for (int round = 0; round < 3; round++) {
        box[threadIdx.x] = p.in[element()] + round;
        __syncthreads();
        sum += box[127 - threadIdx.x];
        if (!DEFECT) __syncthreads();
    }
    p.out[element()] = sum;
}
TWINS(missing_second_barrier)

// Lanes of one warp exchange through shared memory; a shuffle in between orders nothing.
template <bool DEFECT>
__device__ void missing_syncwarp_body(const Buffers& p) {
    __shared__ int box[128];
    int value = p.in[element()];
    box[threadIdx.x] = value;
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    if (!DEFECT) __syncwarp();
    p.out[element()] = value + box[threadIdx.x ^ 3];
}
TWINS(missing_syncwarp)

// Two groups of copies are under way, and the older one of two is waited for instead of both.
template <bool DEFECT>
__device__ void wrong_wait_count_body(const Buffers& p) {
    __shared__ __align__(16) int box[2][128];
    int lane = threadIdx.x % 32;
    for (int stage = 0; stage < 2; stage++) {
        if (threadIdx.x < 32) copy16(&box[stage][4 * lane], p.in + 128 * stage + 4 * lane);
        asm volatile("cp.async.commit_group;\n" ::: "memory");
    }
    if (DEFECT) {
        asm volatile("cp.async.wait_group 1;\n" ::: "memory");
    } else {
        asm volatile("cp.async.wait_group 0;\n" ::: "memory");
    }
    __syncthreads();
    p.out[element()] = box[1][threadIdx.x];
    asm volatile("cp.async.wait_all;\n" ::: "memory");
}
TWINS(wrong_wait_count)

// The copy was never committed, so the group that is waited for is empty.
template <bool DEFECT>
__device__ void missing_commit_body(const Buffers& p) {
    __shared__ __align__(16) int box[128];
    if (threadIdx.x < 32) copy16(&box[4 * threadIdx.x], p.in + 4 * threadIdx.x);
    if (!DEFECT) asm volatile("cp.async.commit_group;\n" ::: "memory");
    asm volatile("cp.async.wait_group 0;\n" ::: "memory");
    __syncthreads();
    p.out[element()] = box[threadIdx.x];
    asm volatile("cp.async.wait_all;\n" ::: "memory");
}
TWINS(missing_commit)

// Waiting makes a thread's own copies visible to itself only.
template <bool DEFECT>
__device__ void missing_barrier_after_wait_body(const Buffers& p) {
    __shared__ __align__(16) int box[128];
    if (threadIdx.x < 32) copy16(&box[4 * threadIdx.x], p.in + 4 * threadIdx.x);
    asm volatile("cp.async.wait_all;\n" ::: "memory");
    if (!DEFECT) __syncthreads();
    p.out[element()] = box[threadIdx.x];
}
TWINS(missing_barrier_after_wait)

// The bound lets one element too many through.
template <bool DEFECT>
__device__ void off_by_one_body(const Buffers& p) {
    int i = element() + 1;
    if (DEFECT ? i <= p.n : i < p.n) p.out[i] = p.in[i];
}
TWINS(off_by_one)

// The shared array is one element too short for its last thread.
template <bool DEFECT>
__device__ void shared_overrun_body(const Buffers& p) {
    __shared__ int box[DEFECT ? 127 : 128];
    __shared__ int other[128];
    box[threadIdx.x] = p.in[element()];
    other[threadIdx.x] = 1;
    __syncthreads();
    p.out[element()] = box[threadIdx.x] + other[127 - threadIdx.x];
}
TWINS(shared_overrun)

// A part of a warp returns before the others meet at the barrier.
template <bool DEFECT>
__device__ void early_return_before_barrier_body(const Buffers& p) {
    __shared__ int box[128];
    if (DEFECT && threadIdx.x >= 100) return;
    box[threadIdx.x] = p.in[element()];
    __syncthreads();
    if (threadIdx.x >= 100) return;
    p.out[element()] = box[99 - threadIdx.x];
}
TWINS(early_return_before_barrier)

// Lanes that have returned are named by the shuffle's mask.
template <bool DEFECT>
__device__ void early_return_before_shuffle_body(const Buffers& p) {
    if (DEFECT && element() >= 250) return;
    int value = element() < 250 ? p.in[element()] : 0;
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    if (element() < 250) p.out[element()] = value;
}
TWINS(early_return_before_shuffle)

// The mask names the whole warp, but half of it runs the shuffle.
template <bool DEFECT>
__device__ void wrong_mask_body(const Buffers& p) {
    int value = p.in[element()];
    if (threadIdx.x % 32 < 16) value += __shfl_xor_sync(DEFECT ? 0xffffffffu : 0xffffu, value, 8);
    p.out[element()] = value;
}
TWINS(wrong_mask)

// Both blocks write the same elements.
template <bool DEFECT>
__device__ void race_between_blocks_body(const Buffers& p) {
    p.out[DEFECT ? threadIdx.x : element()] = p.in[element()];
}
TWINS(race_between_blocks)

// Both blocks add to one element without an atomic.
template <bool DEFECT>
__device__ void lost_update_body(const Buffers& p) {
    if (threadIdx.x == 0) {
        if (DEFECT) {
            p.scratch[0] += p.in[element()];
        } else {
            atomicAdd(p.scratch, p.in[element()]);
        }
    }
    p.out[element()] = 0;
}
TWINS(lost_update)

// The block that comes last reads what the other has written before its increment, without a fence in between.
template <bool DEFECT>
__device__ void missing_threadfence_body(const Buffers& p) {
    if (threadIdx.x == 0) {
        p.out[blockIdx.x] = p.in[blockIdx.x];
        if (!DEFECT) __threadfence();
        if (atomicAdd(p.scratch, 1) == 1) {
            if (!DEFECT) __threadfence();
            p.out[2] = p.out[0] + p.out[1];
        }
    }
}
TWINS(missing_threadfence)

// Bins are counted up that nobody has set to zero.
template <bool DEFECT>
__device__ void uninitialised_shared_body(const Buffers& p) {
    __shared__ int bins[16];
    if (!DEFECT && threadIdx.x < 16) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[p.in[element()] & 15], 1);
    __syncthreads();
    if (threadIdx.x < 16) p.out[blockIdx.x * 128 + threadIdx.x] = bins[threadIdx.x];
}
TWINS(uninitialised_shared)

// Half of each warp waits at a barrier that the other half does not reach.
template <bool DEFECT>
__device__ void divergent_barrier_body(const Buffers& p) {
    __shared__ int box[128];
    box[threadIdx.x] = p.in[element()];
    if (DEFECT) {
        if (threadIdx.x % 32 < 16) __syncthreads();
    } else {
        __syncthreads();
    }
    p.out[element()] = box[threadIdx.x];
}
TWINS(divergent_barrier)

// Three warps wait for four to arrive at a named barrier.
template <bool DEFECT>
__device__ void missing_arrival_body(const Buffers& p) {
    __shared__ int box[128];
    box[threadIdx.x] = p.in[element()];
    int value = 0;
    if (!DEFECT || threadIdx.x >= 32) {
        asm volatile("bar.sync 1, 128;\n" ::: "memory");
        value = box[127 - threadIdx.x];
    }
    p.out[element()] = value;
}
TWINS(missing_arrival)

// Data that this kernel writes is read through the read-only path.
template <bool DEFECT>
__device__ void stale_read_only_body(const Buffers& p) {
    p.scratch[element()] = p.in[element()];
    p.out[element()] = DEFECT ? __ldg(p.scratch + element()) : *(volatile int*)(p.scratch + element());
}
TWINS(stale_read_only)

// A vector load starts at an element that is no multiple of four.
template <bool DEFECT>
__device__ void misaligned_vector_body(const Buffers& p) {
    int at = 4 * (threadIdx.x / 4) + (DEFECT ? 1 : 0);
    int4 value = *reinterpret_cast<const int4*>(p.in + at);
    p.out[element()] = value.x + value.w;
}
TWINS(misaligned_vector)
