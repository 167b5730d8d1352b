// out = sum of x in a fixed order: each block sums its part, and the block that finishes last adds the parts up.
struct LastBlock {
    const float* x;     // f32 [n]
    float* parts;       // f32 [gridDim.x]
    unsigned* counter;  // u32 [1], zero before and after
    float* out;         // f32 [1]
    int n;
};

__device__ float block_total(float value, float* shared) {
    for (int step = 16; step > 0; step /= 2) {
        value += __shfl_down_sync(0xffffffffu, value, step);
    }
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = value;
    }
    __syncthreads();
    float total = 0.0f;
    for (int warp = 0; warp < blockDim.x / 32; warp++) {
        total += shared[warp];
    }
    __syncthreads();
    return total;
}

extern "C" __global__ void last_block(const __grid_constant__ LastBlock p) {
    __shared__ float shared[32];
    __shared__ bool last;
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x) {
        sum += p.x[i];
    }
    float total = block_total(sum, shared);
    if (threadIdx.x == 0) {
        p.parts[blockIdx.x] = total;
        __threadfence();
        last = atomicAdd(p.counter, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last) {
        __threadfence();
        float part = 0.0f;
        for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
            part += p.parts[i];
        }
        total = block_total(part, shared);
        if (threadIdx.x == 0) {
            *p.out = total;
            *p.counter = 0;
        }
    }
}
