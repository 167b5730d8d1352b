// Small operations on a packed triangle: f32 [size, size], lower triangle in 128 x 128 tiles.
//
//   triangle_scale         every value *= factor
//   triangle_diagonal      vector = diagonal, f32 [size]
//   triangle_set_diagonal  diagonal = vector
//   triangle_add_diagonal  diagonal += factor
//   triangle_unpack        full = the symmetric matrix, f32 [size, size], row-major
//
// All are bound by memory: the triangle is read once, and written once where it changes. Unpacking writes each tile
// twice, the second time turned in shared memory, so that both are written in whole cache lines: 12288 columns are
// 302 MB read and 604 MB written, 0.45 ms at an A100's 2 TB/s.
#include "common.cuh"

constexpr int THREADS = 256;

// Rows and columns of the squares that are turned: a warp writes their rows, 128 bytes each.
constexpr int SQUARE = WARP;

struct TriangleParams {
    float* packed;  // f32, packed triangle of `size` rows
    float* other;   // f32 [size], or [size, size] to unpack into, or null
    int64_t values;  // of `packed`
    float factor;
    int32_t size;
};
static_assert(sizeof(TriangleParams) == 32);

__device__ __forceinline__ int64_t grid_thread() {
    return static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
}

__device__ __forceinline__ float* diagonal_place(const TriangleParams& params, int row) {
    const int tile = row / TRIANGLE_TILE, inside = row % TRIANGLE_TILE;
    return params.packed + triangle_tile(tile, tile) + inside * TRIANGLE_TILE + inside;
}

extern "C" __global__ void __launch_bounds__(THREADS) triangle_scale(const __grid_constant__ TriangleParams params) {
    // Tiles are whole vectors.
    float4* packed = reinterpret_cast<float4*>(params.packed);
    const int64_t at = grid_thread();
    if (at >= params.values / 4) return;
    float4 value = packed[at];
    value.x *= params.factor;
    value.y *= params.factor;
    value.z *= params.factor;
    value.w *= params.factor;
    packed[at] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    triangle_diagonal(const __grid_constant__ TriangleParams params) {
    const int64_t row = grid_thread();
    if (row < params.size) params.other[row] = *diagonal_place(params, row);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    triangle_set_diagonal(const __grid_constant__ TriangleParams params) {
    const int64_t row = grid_thread();
    if (row < params.size) *diagonal_place(params, row) = params.other[row];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    triangle_add_diagonal(const __grid_constant__ TriangleParams params) {
    const int64_t row = grid_thread();
    if (row < params.size) *diagonal_place(params, row) += params.factor;
}

// Block (i, j) unpacks tile (i, j); those above the diagonal have nothing to do.
extern "C" __global__ void __launch_bounds__(THREADS) triangle_unpack(const __grid_constant__ TriangleParams params) {
    // One column more than needed: the columns of a square then lie in different banks.
    __shared__ float square[SQUARE][SQUARE + 1];
    const int i = blockIdx.y, j = blockIdx.x;
    if (j > i) return;
    const float* tile = params.packed + triangle_tile(i, j);
    const int line = threadIdx.x / SQUARE, column = threadIdx.x % SQUARE;
    constexpr int SQUARES = TRIANGLE_TILE / SQUARE;
    for (int at = 0; at < SQUARES * SQUARES; ++at) {
        const int top = at / SQUARES * SQUARE, left = at % SQUARES * SQUARE;
        if (i == j && left > top) continue;
        for (int row = line; row < SQUARE; row += THREADS / SQUARE)
            square[row][column] = tile[(top + row) * TRIANGLE_TILE + left + column];
        __syncthreads();
        const bool diagonal = i == j && left == top;
        for (int row = line; row < SQUARE; row += THREADS / SQUARE) {
            const int below = i * TRIANGLE_TILE + top, right = j * TRIANGLE_TILE + left;
            const float direct = diagonal && column > row ? square[column][row] : square[row][column];
            if (below + row < params.size && right + column < params.size)
                params.other[static_cast<int64_t>(below + row) * params.size + right + column] = direct;
            if (!diagonal && right + row < params.size && below + column < params.size)
                params.other[static_cast<int64_t>(right + row) * params.size + below + column] = square[column][row];
        }
        __syncthreads();
    }
}
