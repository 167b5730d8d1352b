// Three defects, one for each compute-sanitizer tool: if a tool stays silent on its own defect, its silence about
// the kernels means nothing.
#include <cstdio>
#include <cstring>

// Writes one value past the end of an allocation.
__global__ void out_of_bounds(float* values, int count) { values[threadIdx.x + count - 31] = 1.0f; }

// Reads a neighbour's shared value without a barrier.
__global__ void missing_barrier(float* values) {
    __shared__ float exchange[256];
    exchange[threadIdx.x] = values[threadIdx.x];
    values[threadIdx.x] = exchange[255 - threadIdx.x];
}

// Reads memory that nobody wrote.
__global__ void uninitialised(const float* values, float* sum) { sum[threadIdx.x] = values[threadIdx.x] + 1.0f; }

int main(int count, char** arguments) {
    if (count != 2) return 2;
    float *values, *sum;
    if (cudaMalloc(&values, 256 * sizeof(float)) != cudaSuccess) return 2;
    if (cudaMalloc(&sum, 256 * sizeof(float)) != cudaSuccess) return 2;
    if (!strcmp(arguments[1], "memcheck")) {
        out_of_bounds<<<1, 32>>>(values, 256);
    } else if (!strcmp(arguments[1], "racecheck")) {
        if (cudaMemset(values, 0, 256 * sizeof(float)) != cudaSuccess) return 2;
        missing_barrier<<<1, 256>>>(values);
    } else {
        uninitialised<<<1, 256>>>(values, sum);
    }
    const cudaError_t error = cudaDeviceSynchronize();
    printf("%s\n", cudaGetErrorString(error));
    return 0;
}
