// One function per row of the output: what the compiler makes of the mathematics that kernels use. The slow paths of
// the trigonometric functions bring local memory, function calls bring parameters, the switch brings a branch table.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

struct Functions {
    const float* x;  // f32 [n]
    float* out;      // f32 [ROWS, n]
    int n;
};

__device__ __noinline__ float polynomial(const float* coefficients, int count, float x) {
    float sum = 0.0f;
    for (int i = 0; i < count; i++) {
        sum = sum * x + coefficients[i];
    }
    return sum;
}

__constant__ float table[4] = {1.0f, -2.0f, 0.5f, 3.0f};

extern "C" __global__ void functions(const __grid_constant__ Functions p) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.n) {
        return;
    }
    float x = p.x[i];
    int row = 0;
    auto put = [&](float value) { p.out[row++ * p.n + i] = value; };
    put(expf(x));
    put(exp2f(x));
    put(logf(fabsf(x) + 0.5f));
    put(tanhf(x));
    put(erff(x));
    put(sinf(1e6f * x));
    put(sqrtf(fabsf(x)));
    put(rsqrtf(fabsf(x) + 1.0f));
    put(powf(fabsf(x) + 0.1f, 1.5f));
    put(1.0f / (1.0f + expf(-x)));
    put(fmodf(x, 0.75f));
    put(static_cast<float>(exp(static_cast<double>(x)) + sqrt(fabs(static_cast<double>(x)))));
    put(__bfloat162float(__float2bfloat16(x) * __float2bfloat16(3.0f)));
    put(__half2float(__float2half(x) + __float2half(0.5f)));
    put(__half2float(hexp(__float2half(x))));
    put(polynomial(p.x, 4, x));
    float local[8];
    for (int k = 0; k < 8; k++) {
        local[(k * 3 + i) & 7] = table[k & 3] * k;
    }
    put(local[i & 7]);
    int n = static_cast<int>(x * 1000.0f);
    put(static_cast<float>(n / 7 + n % 13));
    put(static_cast<float>(static_cast<unsigned>(n) / 10u % 1000u));
    switch (i % 6) {
        case 0: put(x + 1.0f); break;
        case 1: put(x * 2.0f); break;
        case 2: put(floorf(x)); break;
        case 3: put(ceilf(x)); break;
        case 4: put(rintf(x * 4.0f)); break;
        default: put(-x);
    }
}
