// out[b] = sum of x over the 4 * blockDim.x elements of block b: shuffles within warps, shared memory between them.
struct BlockSum {
    const float4* x;  // f32 [n / 4][4]
    float* out;       // f32 [gridDim.x]
    int n;
};

extern "C" __global__ void __launch_bounds__(256) block_sum(const __grid_constant__ BlockSum p) {
    __shared__ float parts[8];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = 0.0f;
    if (4 * i < p.n) {
        float4 x = __ldg(p.x + i);
        sum = (x.x + x.y) + (x.z + x.w);
    }
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) {
        parts[warp] = sum;
    }
    __syncthreads();
    if (warp == 0) {
        sum = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0.0f;
        for (int step = 4; step > 0; step /= 2) {
            sum += __shfl_down_sync(0xffffffffu, sum, step);
        }
        if (threadIdx.x == 0) {
            p.out[blockIdx.x] = sum;
        }
    }
}
