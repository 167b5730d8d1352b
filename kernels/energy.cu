// energy[row] = sum over columns of x (p + (other - own) x), one row of x H x^T each, with another diagonal in the
// place of H's own if one is given.
//
//   x           f32 [rows, size], row-major with a stride
//   product p   f32 [rows, size], x H by symm.cu
//   own, other  f32 [size], H's diagonal and the one in its place; or none
//   energy      f64 [rows]
//
//       row:  |t0 t1 t2 .. t255|t0 t1 ..|       one block per row, thread t takes columns t, t + 256, ..; f64
//
// Reads two rows of 4 * size bytes, against the 2 * size operations per value of the product before it.
#include "common.cuh"

constexpr int THREADS = 256;

struct EnergyParams {
    const float* x;
    const float* product;
    const float* own;    // f32 [size], or null
    const float* other;  // f32 [size], or null
    double* energy;
    int64_t x_stride;
    int64_t product_stride;
    int32_t rows;
    int32_t size;
};
static_assert(sizeof(EnergyParams) == 64);

extern "C" __global__ void __launch_bounds__(THREADS) energy_rows(const __grid_constant__ EnergyParams params) {
    __shared__ double sums[THREADS / WARP];
    const int64_t row = blockIdx.x;
    const float* x = params.x + row * params.x_stride;
    const float* product = params.product + row * params.product_stride;
    double part = 0.0;
    for (int column = threadIdx.x; column < params.size; column += THREADS) {
        const double value = x[column];
        double towards = product[column];
        if (params.other) towards += (static_cast<double>(params.other[column]) - params.own[column]) * value;
        part += value * towards;
    }
    const double energy = block_sum<THREADS>(part, sums);
    if (threadIdx.x == 0) params.energy[row] = energy;
}
