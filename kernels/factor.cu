// H + damping I = R R^T with R upper triangular, from the last column to the first, for one matrix or many at once.
//
//   triangle   f32, packed lower triangle of T x T tiles of 128 x 128; H on entry, R^T on exit: tile (j, i), i <= j,
//              becomes R_ij^T, and H = sum over j of R_ij R_kj^T reads tile by tile as
//
//                  H_ki = sum over j >= k of  tile(j, k)^T tile(j, i)
//
//   inverses   f32 [T, 128, 128], the inverses of R's diagonal blocks
//
// Both products of tiles, here and below, are left^T right (factor_product.cuh).
//
// Two levels. Rows of tiles J are finished from the last to the first, each from the up to three finished rows of
// its outer block of four (left-looking); after each outer block everything above it is updated at once
// (right-looking), with products 512 deep:
//
//          I ->                                     row J of an outer block, one thread block per tile (J, I):
//        +---+
//        |   |                                        S = H_JI - sum over j of tile(j, J)^T tile(j, I)
//        | . | . |       <- factor_trailing           X = R_JJ^-1 S,  X += R_JJ^-1 (S - R_JJ X)      -> (J, I)
//        | . | . | D |                                D = H_II - X^T X  on the tiles D of its column
//        | S | S | S | L |   <- factor_row, row J
//        | f | f | f | f | f |                      The block of column J - 1 then has all of H_J-1,J-1 and goes on
//        | f | f | f | f | f | f |    f: finished   to factor and invert it (factor_block.cuh): row J - 1 can start.
//
// Bytes: a right-looking update of single rows would read and write the triangle T times, 75 GB at d = 15360; four
// rows at a time move 19 GB: 6 ms on an H100, 10 ms on an A100, 19 ms on an RTX 4090, beside products of 7, 23 and
// 15 ms. Operands add 38 GB from the second-level cache: trailing tiles are taken in groups of eight rows, column by
// column, so that 8 + 16 operand tiles serve 128 output tiles.
//
// X comes from the inverse and one step of refinement, not from the inverse alone: that has an error of
// cond(R_JJ) 2^-24 and breaks down on correlated inputs with little damping, on which plain Cholesky in float32
// succeeds. The two products more are 3 / T of all work.
//
// Limits. d^3 / 3 flops: at d = 15360 1.2e12, floor 7 ms on an H100 (495 / 3 TF32), 23 ms on an A100 (156 / 3),
// 15 ms on an RTX 4090 (82.6 FFMA). Beside it T dependent rows: a row's chain is up to eight 128-deep products by
// one multiprocessor and a diagonal block, some 50 us, during which it has J blocks of work. cuSOLVER's potrf,
// potri, potrf are 4 d^3 / 3 flops in FFMA: 72 ms on an H100, 250 ms on an A100, 58 ms on an RTX 4090 at peak.

#include "common.cuh"
#include "factor_block.cuh"
#include "factor_product.cuh"

static_assert(THREADS == BLOCK_THREADS, "a row goes on to factor a diagonal block");

// Dynamic shared memory: the ring; for a row the ring of one operand and the whole of the other.
constexpr int trailing_shared(int stride) { return STAGES * 2 * DEPTH * stride * sizeof(float); }
constexpr int row_shared(int stride) { return (STAGES * DEPTH + TILE) * stride * sizeof(float); }
static_assert(trailing_shared(TENSOR_STRIDE) == 52224 && row_shared(TENSOR_STRIDE) == 95744, "TENSOR of src/factor.rs");
static_assert(trailing_shared(FMA_STRIDE) == 49152 && row_shared(FMA_STRIDE) == 90112, "FMA of src/factor.rs");
static_assert(trailing_shared(TENSOR_STRIDE) <= row_shared(TENSOR_STRIDE), "a row streams two operands as well");
static_assert(sizeof(DiagonalBlock) <= row_shared(FMA_STRIDE), "the diagonal block takes the place of the operands");

// Rows of tiles per outer block: OUTER of src/factor.rs.
constexpr int OUTER = 4;
// Rows of trailing tiles that are taken together.
constexpr int GROUP = 8;

// What is known after the diagonal block of a tile row.
struct FactorProgress {
    // Column of the first pivot that is not positive and finite, or NO_FAILURE.
    int failed;
    // Smallest R[i, i] so far.
    float smallest_root;
};
static_assert(sizeof(FactorProgress) == 8, "Progress of src/factor.rs");

// One matrix of the batch.
struct FactorMatrix {
    float* triangle;           // f32 packed [tiles]
    float* inverses;           // f32 [tiles, 128, 128]
    float* turned;             // f32 [2, 128, 128]: transposed inverses of this row and the next, by parity
    float* diagonal;           // f32 [size + 1]: the diagonal of H, then the damping
    FactorProgress* progress;  // [tiles]
    double dampening;
    int size, tiles;
};
static_assert(sizeof(FactorMatrix) == 56, "Matrix of src/factor.rs");

struct FactorParams {
    const FactorMatrix* matrices;  // by falling number of tiles
    const uint32_t* starts;        // [active + 1]: first block of each matrix, see the kernels
    int step;                      // rows of tiles that are finished before this launch
    int active;                    // matrices with work in this launch
};
static_assert(sizeof(FactorParams) == 24, "Params of src/factor.rs");

// sums <- R_JJ^-1 (H_JI - update), the finished tile (row, column); `operand`, f32 [128, 128] in shared memory, and
// the ring are free before; a barrier must follow before they are used.
template <typename Arithmetic>
__device__ __forceinline__ void solve_tile(const FactorMatrix& matrix, int row, int column, int rows_end, float* ring,
                                           float* operand, Sums& sums) {
    float* const target = matrix.triangle + triangle_tile(row, column);
    const float* const inverse = matrix.turned + row % 2 * TRIANGLE_TILE_VALUES;
    const float* const diagonal = matrix.triangle + triangle_tile(row, row);

    const TwoColumns<Arithmetic::STRIDE> update{ring, matrix.triangle, row + 1, row, column};
    const int update_steps = (rows_end - row - 1) * STEPS;
    start(update, update_steps);
    multiply<Arithmetic>(sums, update, update_steps);
    __syncthreads();

    const TileAndShared<Arithmetic::STRIDE> solve{ring, inverse, operand};
    start(solve, STEPS);
    subtract_from<Arithmetic>(target, sums);
    store_operand<Arithmetic>(operand, sums);
    Sums product;
    clear(product);
    multiply<Arithmetic>(product, solve, STEPS);
    __syncthreads();

    const TileAndShared<Arithmetic::STRIDE> check{ring, diagonal, operand};
    start(check, STEPS);
    store_operand<Arithmetic>(operand, product);
    clear(product);
    multiply<Arithmetic>(product, check, STEPS);
#pragma unroll
    for (int f = 0; f < 16; ++f) {
#pragma unroll
        for (int e = 0; e < 4; ++e) product[f][e] = sums[f][e] - product[f][e];
    }
    load_operand<Arithmetic>(operand, sums);
    __syncthreads();

    start(solve, STEPS);
    store_operand<Arithmetic>(operand, product);
    clear(product);
    multiply<Arithmetic>(product, solve, STEPS);
#pragma unroll
    for (int f = 0; f < 16; ++f) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[f][e] += product[f][e];
    }
    store<Arithmetic>(target, sums);
}

// Index of the matrix that `block` belongs to.
__device__ __forceinline__ int find_matrix(const FactorParams& p, uint32_t block) {
    int low = 0, high = p.active;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        (p.starts[middle] <= block ? low : high) = middle;
    }
    return low;
}

// Row J = tiles - step of every matrix. The first `active` blocks have the columns J - 1, whose chains are the
// longest; block active + starts[m] + i has column i of matrix m. In step 0 there is no row, only the last diagonal
// block.
template <typename Arithmetic>
__device__ __forceinline__ void factor_row(const FactorParams& p) {
    extern __shared__ float4 shared[];
    float* const ring = reinterpret_cast<float*>(shared);
    float* const operand = ring + STAGES * DEPTH * Arithmetic::STRIDE;

    const bool next = blockIdx.x < p.active;
    const uint32_t rest = next ? 0 : blockIdx.x - p.active;
    const int index = next ? blockIdx.x : find_matrix(p, rest);
    const FactorMatrix matrix = p.matrices[index];
    const int row = matrix.tiles - p.step;
    const int column = next ? row - 1 : rest - p.starts[index];
    float* const diagonal = matrix.triangle + triangle_tile(column, column);

    Sums sums;
    clear(sums);
    if (p.step > 0) {
        const FactorProgress before = matrix.progress[row];
        if (before.failed != NO_FAILURE) {
            if (next && threadIdx.x == 0) matrix.progress[column] = before;
            return;
        }
        const int rows_end = matrix.tiles - (p.step - 1) / OUTER * OUTER;
        solve_tile<Arithmetic>(matrix, row, column, rows_end, ring, operand, sums);
        // The diagonal tiles of the outer block, and the one before it, follow at once.
        if (column < rows_end - OUTER - 1) return;
        __syncthreads();
        store_operand<Arithmetic>(operand, sums);
        clear(sums);
        __syncthreads();
        for (int step = 0; step < STEPS; ++step) {
            const float* const rows = operand + step * DEPTH * Arithmetic::STRIDE;
            Arithmetic::multiply(sums, rows, rows);
        }
    }
    subtract_from<Arithmetic>(diagonal, sums);
    if (!next) {
        store<Arithmetic>(diagonal, sums);
        return;
    }

    DiagonalBlock& block = *reinterpret_cast<DiagonalBlock*>(shared);
    __syncthreads();
    if (threadIdx.x == 0) block.failed = NO_FAILURE;
    each_pair<Arithmetic>(sums, [&](int row, int column, float first, float second) {
        place_diagonal(block, row, column, first);
        place_diagonal(block, row, column + 1, second);
    });
    factor_diagonal(block);
    const int valid = min(TILE, matrix.size - column * TILE);
    store_diagonal(block, valid, diagonal, matrix.inverses + static_cast<size_t>(column) * TRIANGLE_TILE_VALUES,
                   matrix.turned + column % 2 * TRIANGLE_TILE_VALUES);
    if (threadIdx.x < WARP) {
        float smallest = column + 1 < matrix.tiles ? matrix.progress[column + 1].smallest_root : INFINITY;
        for (int i = TILE - valid + threadIdx.x; i < TILE; i += WARP) smallest = fminf(smallest, block.roots[i]);
        smallest = -warp_max(-smallest);
        const bool good = block.failed == NO_FAILURE;
        const int pivot = good ? NO_FAILURE : column * TILE + TILE - 1 - block.failed;
        if (threadIdx.x == 0) matrix.progress[column] = {pivot, smallest};
    }
}

// All tiles (i, j), j <= i, above the outer block that begins with row n = tiles - step, but for (n - 1, n - 1),
// which `factor_row` has seen to. Blocks from starts[m] on are matrix m's: groups of GROUP rows from the top, within
// them column by column; (n - 1, n - 1) would be the last.
template <typename Arithmetic>
__device__ __forceinline__ void factor_trailing(const FactorParams& p) {
    extern __shared__ float4 shared[];
    const int index = find_matrix(p, blockIdx.x);
    const FactorMatrix matrix = p.matrices[index];
    const int n = matrix.tiles - p.step;
    if (matrix.progress[n - 1].failed != NO_FAILURE) return;

    int rest = blockIdx.x - p.starts[index], top = 0;
    while (rest >= (top + GROUP) * (top + GROUP + 1) / 2) top += GROUP;
    rest -= top * (top + 1) / 2;
    const int height = min(GROUP, n - top);
    // Columns up to `top` are of full height, those after it one row shorter each.
    int column = min(rest / height, top), row_start = top;
    rest -= column * height;
    for (int left = height; column == row_start && rest >= left; --left) rest -= left, ++column, ++row_start;
    const int row = row_start + rest;

    const TwoColumns<Arithmetic::STRIDE> update{reinterpret_cast<float*>(shared), matrix.triangle, n, row, column};
    float* const target = matrix.triangle + triangle_tile(row, column);
    Sums sums;
    clear(sums);
    start(update, OUTER * STEPS);
    multiply<Arithmetic>(sums, update, OUTER * STEPS);
    each_pair<Arithmetic>(sums, [&](int row, int column, float first, float second) {
        float2* const place = reinterpret_cast<float2*>(target + row * TILE + column);
        const float2 pair = *place;
        *place = {pair.x - first, pair.y - second};
    });
}

// One block per matrix, whose triangle is a copy of H: writes `diagonal`, sets dead entries of the diagonal to 1, adds
// the damping, and completes the diagonal beyond the matrix with ones.
extern "C" __global__ void __launch_bounds__(THREADS) factor_damp(const __grid_constant__ FactorParams p) {
    __shared__ double partial[THREADS / WARP];
    const FactorMatrix matrix = p.matrices[blockIdx.x];
    const auto entry = [&](int i) {
        return matrix.triangle + triangle_tile(i / TILE, i / TILE) + i % TILE * (TILE + 1);
    };
    double sum = 0.0;
    for (int i = threadIdx.x; i < matrix.size; i += THREADS) {
        const float h = *entry(i);
        matrix.diagonal[i] = h;
        sum += h == 0.0f ? 1.0 : static_cast<double>(h);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = sum;
    __syncthreads();
    sum = 0.0;
    for (int warp = 0; warp < THREADS / WARP; ++warp) sum += partial[warp];
    const float damping = static_cast<float>(matrix.dampening * (sum / matrix.size));
    if (threadIdx.x == 0) matrix.diagonal[matrix.size] = damping;
    for (int i = threadIdx.x; i < matrix.tiles * TILE; i += THREADS) {
        const float h = i < matrix.size ? matrix.diagonal[i] : 0.0f;
        *entry(i) = i < matrix.size ? (h == 0.0f ? 1.0f : h) + damping : 1.0f;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) factor_row_tensor(const __grid_constant__ FactorParams p) {
    factor_row<TensorCores>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS) factor_row_fma(const __grid_constant__ FactorParams p) {
    factor_row<Fma>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    factor_trailing_tensor(const __grid_constant__ FactorParams p) {
    factor_trailing<TensorCores>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) factor_trailing_fma(const __grid_constant__ FactorParams p) {
    factor_trailing<Fma>(p);
}
