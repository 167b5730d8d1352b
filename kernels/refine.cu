// Least squares on a fixed mask, min tr((W - V) H (W - V)^T) over the support of V, by conjugate gradients
// preconditioned with the diagonal of H (ALPS, Meng et al. 2024, section 3.3).
//
//   dense      f32 [rows, size]   W
//   weight     f32 [rows, size]   V, zero outside the mask
//   direction  f32 [rows, size]   P; before the first step the difference W - V
//   residual   f32 [rows, size]   R = ((W - V) H) o mask
//   product    f32 [rows, size]   (P H) o mask, by symm.cu
//   inverse    f32 [size]         1 / diagonal of H
//   energy     f64 [rows]         <R, R inverse>
//
//   refine_invert       inverse = 1 / inverse, which holds the diagonal before
//   refine_difference   P = W - V                                                   then symm: R = (P H) o mask
//   refine_begin        energy = <R, R inverse>, P = R inverse
//   refine_step         a = energy / <P, product>, V += a P, R -= a product,        after symm: product = (P H) o mask
//                       b = <R, R inverse> / energy, P = R inverse + b P
//
// Rows are independent problems, one block each: a and b stay on the device, and an iteration is two launches.
//
//       row:  |t0 t1 t2 .. t255|t0 t1 ..|       thread t takes columns t, t + 256, ..; sums in f64 in this order
//
// A step reads four rows and writes three of 4 * size bytes; the second and third pass find most of theirs in the
// caches. 3072 rows of 12288 are 1.1 GB, 0.5 ms at an A100's 2 TB/s, against 18 ms of the product before it.
#include "common.cuh"

constexpr int THREADS = 256;

struct RefineParams {
    const float* dense;
    float* weight;
    float* direction;
    float* residual;
    const float* product;
    float* inverse;
    double* energy;
    int64_t dense_stride;
    int64_t weight_stride;
    int32_t rows;
    int32_t size;
};
static_assert(sizeof(RefineParams) == 80);

extern "C" __global__ void __launch_bounds__(THREADS) refine_invert(const __grid_constant__ RefineParams params) {
    const int column = blockIdx.x * THREADS + threadIdx.x;
    if (column < params.size) params.inverse[column] = 1.0f / params.inverse[column];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    refine_difference(const __grid_constant__ RefineParams params) {
    const int64_t row = blockIdx.x;
    const float* dense = params.dense + row * params.dense_stride;
    const float* weight = params.weight + row * params.weight_stride;
    float* direction = params.direction + row * params.size;
    for (int column = threadIdx.x; column < params.size; column += THREADS)
        direction[column] = dense[column] - weight[column];
}

// One term of <R, R inverse>.
__device__ __forceinline__ double scaled_square(float residual, float inverse) {
    return static_cast<double>(residual) * static_cast<double>(residual) * static_cast<double>(inverse);
}

extern "C" __global__ void __launch_bounds__(THREADS) refine_begin(const __grid_constant__ RefineParams params) {
    __shared__ double sums[THREADS / WARP];
    const int64_t row = blockIdx.x;
    const float* residual = params.residual + row * params.size;
    float* direction = params.direction + row * params.size;
    double part = 0.0;
    for (int column = threadIdx.x; column < params.size; column += THREADS) {
        part += scaled_square(residual[column], params.inverse[column]);
        direction[column] = residual[column] * params.inverse[column];
    }
    const double energy = block_sum<THREADS>(part, sums);
    if (threadIdx.x == 0) params.energy[row] = energy;
}

extern "C" __global__ void __launch_bounds__(THREADS) refine_step(const __grid_constant__ RefineParams params) {
    __shared__ double curvature_sums[THREADS / WARP], energy_sums[THREADS / WARP];
    const int64_t row = blockIdx.x;
    float* weight = params.weight + row * params.weight_stride;
    float* direction = params.direction + row * params.size;
    float* residual = params.residual + row * params.size;
    const float* product = params.product + row * params.size;

    const double before = params.energy[row];
    double part = 0.0;
    for (int column = threadIdx.x; column < params.size; column += THREADS)
        part += static_cast<double>(direction[column]) * static_cast<double>(product[column]);
    const double curvature = block_sum<THREADS>(part, curvature_sums);
    // A row that is solved, or has nothing to adjust, has no direction left. Every thread holds the same bits.
    if (!(curvature > 0.0 && before > 0.0)) return;

    const float step = static_cast<float>(before / curvature);
    part = 0.0;
    for (int column = threadIdx.x; column < params.size; column += THREADS) {
        weight[column] = fmaf(step, direction[column], weight[column]);
        const float left = fmaf(-step, product[column], residual[column]);
        residual[column] = left;
        part += scaled_square(left, params.inverse[column]);
    }
    const double after = block_sum<THREADS>(part, energy_sums);
    const float turn = static_cast<float>(after / before);
    for (int column = threadIdx.x; column < params.size; column += THREADS)
        direction[column] = fmaf(residual[column], params.inverse[column], turn * direction[column]);
    if (threadIdx.x == 0) params.energy[row] = after;
}
