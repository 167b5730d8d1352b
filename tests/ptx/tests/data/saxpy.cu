// y = a x + y over n elements, one grid-stride loop.
struct Saxpy {
    const float* x;  // f32 [n]
    float* y;        // f32 [n]
    int n;
    float a;
};

extern "C" __global__ void saxpy(const __grid_constant__ Saxpy p) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x) {
        p.y[i] = p.a * p.x[i] + p.y[i];
    }
}
