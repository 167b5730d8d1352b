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
// column, so that 8 + 16 operand tiles serve 128 output tiles. The host lists the tiles (`plan` of src/factor.rs).
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

// The tile that one thread block takes.
struct FactorBlock {
    uint32_t matrix;
    uint16_t row, column;
};
static_assert(sizeof(FactorBlock) == 8, "Block of src/factor.rs");

struct FactorParams {
    const FactorMatrix* matrices;
    const FactorBlock* blocks;  // one per thread block
    int step;                   // rows of tiles that are finished before this launch
    int reserved;
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

// Row J = tiles - step of every matrix: tile (J, I) for I < J; the blocks of column J - 1, whose chains are the
// longest, come first. In step 0 there is no row J, only the diagonal block before it.
template <typename Arithmetic>
__device__ __forceinline__ void factor_row(const FactorParams& p) {
    extern __shared__ float4 shared[];
    float* const ring = reinterpret_cast<float*>(shared);
    float* const operand = ring + STAGES * DEPTH * Arithmetic::STRIDE;

    const FactorBlock own = p.blocks[blockIdx.x];
    const FactorMatrix matrix = p.matrices[own.matrix];
    const int row = own.row, column = own.column;
    const bool next = column == row - 1;
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

// Tiles (i, j), j <= i, above the outer block that begins with row n = tiles - step, but for (n - 1, n - 1), which
// `factor_row` has seen to.
template <typename Arithmetic>
__device__ __forceinline__ void factor_trailing(const FactorParams& p) {
    extern __shared__ float4 shared[];
    const FactorBlock own = p.blocks[blockIdx.x];
    const FactorMatrix matrix = p.matrices[own.matrix];
    const int row = own.row, column = own.column, n = matrix.tiles - p.step;
    if (matrix.progress[n - 1].failed != NO_FAILURE) return;

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
