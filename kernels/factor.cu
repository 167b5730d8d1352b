// H + damping I = R R^T with R upper triangular, from the last column to the first, for one matrix or many at once.
//
//   triangle   f32, packed lower triangle of T x T tiles of 128 x 128; H on entry, R^T on exit: tile (j, i), i <= j,
//              becomes R_ij^T, and H = sum over j of R_ij R_kj^T reads tile by tile as
//
//                  H_ki = sum over j >= k of  tile(j, k)^T tile(j, i)
//
//   inverses   f32 [T, 128, 128], the inverses of R's diagonal blocks
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
// rows at a time move 19 GB, below the time of the products everywhere. Operands add 38 GB, from the second-level
// cache: trailing tiles are taken in groups of eight rows, column by column, so that 8 + 16 operand tiles serve
// 128 output tiles.
//
// X comes from the inverse and one step of refinement, not from the inverse alone: that has an error of
// cond(R_JJ) 2^-24 and breaks down on correlated inputs with little damping, on which plain Cholesky in float32
// succeeds. The two products more are 3 / T of all work.
//
// Products, 128 x 128 outputs and 16 deep per step, of operands whose rows are the summed index:
//
//     global --cp.async--> ring of 3 x (16 x 128 left, 16 x 128 right) --> registers, 64 sums per thread
//
//   tensor   3xTF32 (m16n8k8), eight warps of 64 x 32: compute capability 8.0, 9.0, 10.0, where three TF32 products
//            are quicker than one FFMA
//   fma      FFMA, eight warps of 32 x 64: 8.6, 8.9, 12.0, where TF32 runs at the rate of FFMA or twice that
//
// Sums start from zero for each product and are taken from H once, so the truncation inside the tensor cores acts
// on at most 512 terms.
//
// Limits. d^3 / 3 flops: at d = 15360 1.2e12, floor 7 ms on an H100 (495 / 3 TF32), 23 ms on an A100 (156 / 3),
// 15 ms on an RTX 4090 (82.6 FFMA). Beside it T dependent rows: a row's chain is up to eight 128-deep products by
// one multiprocessor and a diagonal block, some 50 us, during which it has J blocks of work. cuSOLVER's potrf,
// potri, potrf are 4 d^3 / 3 flops in FFMA: 72 ms on an H100, 250 ms on an A100, 58 ms on an RTX 4090 at peak.

#include "common.cuh"
#include "factor_block.cuh"

constexpr int TILE = TRIANGLE_TILE;
constexpr int THREADS = 256;
static_assert(THREADS == BLOCK_THREADS, "a row goes on to factor a diagonal block");

// Depth of a step, 8 KiB per operand: it takes about 1,500 cycles, and two in flight cover the latency of memory.
constexpr int DEPTH = 16;
constexpr int STEPS = TILE / DEPTH;
constexpr int STAGES = 3;

// Values from one row of an operand in shared memory to the next. Tensor cores read 4 rows by 8 columns at once,
// which 8 banks between rows keep apart; FFMA reads along rows, and two blocks with three stages of both operands,
// 48 KiB each, just fit into the 100 KiB of a multiprocessor.
constexpr int TENSOR_STRIDE = TILE + 8;
constexpr int FMA_STRIDE = TILE;

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

using Sums = float[16][4];

// ---- products ------------------------------------------------------------------------------------------------

// sums += left^T right, both [16, 128]. A thread's sums [f][2 h], [f][2 h + 1] are (row(f, h), column(f, h)) and its
// right neighbour.
struct TensorCores {
    static constexpr int STRIDE = TENSOR_STRIDE;
    static __device__ __forceinline__ int first_row() { return threadIdx.x / WARP % 2 * 64; }
    static __device__ __forceinline__ int first_column() { return threadIdx.x / WARP / 2 * 32; }
    static __device__ __forceinline__ int row(int f, int h) {
        return first_row() + f / 4 * 16 + threadIdx.x % WARP / 4 + 8 * h;
    }
    static __device__ __forceinline__ int column(int f, int) {
        return first_column() + f % 4 * 8 + 2 * (threadIdx.x % 4);
    }

    static __device__ __forceinline__ void multiply(Sums& sums, const float* left, const float* right) {
        const int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            uint32_t right_high[4][2], right_low[4][2];
#pragma unroll
            for (int n = 0; n < 4; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const SplitTf32 x = split_tf32(right[(k + t + 4 * i) * STRIDE + first_column() + n * 8 + g]);
                    right_high[n][i] = x.high, right_low[n][i] = x.low;
                }
            }
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                uint32_t left_high[4], left_low[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int column = first_row() + m * 16 + g + i % 2 * 8;
                    const SplitTf32 x = split_tf32(left[(k + t + i / 2 * 4) * STRIDE + column]);
                    left_high[i] = x.high, left_low[i] = x.low;
                }
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    multiply_add_3xtf32(sums[m * 4 + n], left_high, left_low, right_high[n], right_low[n]);
                }
            }
        }
    }
};

struct Fma {
    static constexpr int STRIDE = FMA_STRIDE;
    static __device__ __forceinline__ int first_row() {
        return threadIdx.x / WARP % 4 * 32 + threadIdx.x % WARP / 8 * 4;
    }
    static __device__ __forceinline__ int first_column() { return threadIdx.x / WARP / 4 * 64 + threadIdx.x % 8 * 4; }
    static __device__ __forceinline__ int row(int f, int) { return first_row() + f / 8 * 16 + f / 2 % 4; }
    static __device__ __forceinline__ int column(int f, int h) { return first_column() + f % 2 * 32 + 2 * h; }

    static __device__ __forceinline__ void multiply(Sums& sums, const float* left, const float* right) {
#pragma unroll 4
        for (int k = 0; k < DEPTH; ++k) {
            float a[2][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                load(a[i], left + k * STRIDE + first_row() + 16 * i);
                load(b[i], right + k * STRIDE + first_column() + 32 * i);
            }
#pragma unroll
            for (int f = 0; f < 16; ++f) {
#pragma unroll
                for (int e = 0; e < 4; ++e) sums[f][e] = fmaf(a[f / 8][f / 2 % 4], b[f % 2][e], sums[f][e]);
            }
        }
    }

    static __device__ __forceinline__ void load(float (&to)[4], const float* from) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    }
};

__device__ __forceinline__ void clear(Sums& sums) {
#pragma unroll
    for (int f = 0; f < 16; ++f) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[f][e] = 0.0f;
    }
}

// visit(row, column, first, second) for every pair of neighbouring sums of this thread.
template <typename Arithmetic, typename Visit>
__device__ __forceinline__ void each_pair(Sums& sums, Visit visit) {
#pragma unroll
    for (int f = 0; f < 16; ++f) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            visit(Arithmetic::row(f, h), Arithmetic::column(f, h), sums[f][2 * h], sums[f][2 * h + 1]);
        }
    }
}

// sums <- tile - sums; `tile`: f32 [128, 128].
template <typename Arithmetic>
__device__ __forceinline__ void subtract_from(const float* tile, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float& first, float& second) {
        const float2 pair = *reinterpret_cast<const float2*>(tile + row * TILE + column);
        first = pair.x - first, second = pair.y - second;
    });
}

template <typename Arithmetic>
__device__ __forceinline__ void store(float* tile, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float first, float second) {
        *reinterpret_cast<float2*>(tile + row * TILE + column) = {first, second};
    });
}

// The sums as an operand in shared memory, and back.
template <typename Arithmetic>
__device__ __forceinline__ void store_operand(float* operand, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float first, float second) {
        *reinterpret_cast<float2*>(operand + row * Arithmetic::STRIDE + column) = {first, second};
    });
}

template <typename Arithmetic>
__device__ __forceinline__ void load_operand(const float* operand, Sums& sums) {
    each_pair<Arithmetic>(sums, [&](int row, int column, float& first, float& second) {
        const float2 pair = *reinterpret_cast<const float2*>(operand + row * Arithmetic::STRIDE + column);
        first = pair.x, second = pair.y;
    });
}

// ---- operands on their way -----------------------------------------------------------------------------------

// Starts copying one step of an operand, 16 rows of a tile, to shared memory.
template <int STRIDE>
__device__ __forceinline__ void copy_rows(float* to, const float* from) {
#pragma unroll
    for (int value = threadIdx.x * 4; value < DEPTH * TILE; value += THREADS * 4) {
        copy_async_16(shared_address(to + value / TILE * STRIDE + value % TILE), from + value, true);
    }
}

// Two operands, both from column `left` and column `right` of tile rows `first`, `first + 1`, ...
template <int STRIDE>
struct TwoColumns {
    float* ring;
    const float* triangle;
    int first, left, right;

    __device__ __forceinline__ float* left_rows(int step) const { return ring + step % STAGES * 2 * DEPTH * STRIDE; }
    __device__ __forceinline__ float* right_rows(int step) const { return left_rows(step) + DEPTH * STRIDE; }
    __device__ __forceinline__ void copy(int step) const {
        const int row = first + step / STEPS, start = step % STEPS * DEPTH * TILE;
        copy_rows<STRIDE>(left_rows(step), triangle + triangle_tile(row, left) + start);
        copy_rows<STRIDE>(right_rows(step), triangle + triangle_tile(row, right) + start);
    }
};

// The left operand is a tile, the right one lies in shared memory.
template <int STRIDE>
struct TileAndShared {
    float* ring;
    const float* tile;
    const float* operand;

    __device__ __forceinline__ float* left_rows(int step) const { return ring + step % STAGES * DEPTH * STRIDE; }
    __device__ __forceinline__ const float* right_rows(int step) const { return operand + step * DEPTH * STRIDE; }
    __device__ __forceinline__ void copy(int step) const {
        copy_rows<STRIDE>(left_rows(step), tile + step * DEPTH * TILE);
    }
};

// Starts the copies of the first steps; the ring must be free.
template <typename Operands>
__device__ __forceinline__ void start(const Operands& operands, int steps) {
#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) operands.copy(step);
        copy_async_commit();
    }
}

// sums += left^T right after `start`. A barrier must follow before the ring is used again.
template <typename Arithmetic, typename Operands>
__device__ __forceinline__ void multiply(Sums& sums, const Operands& operands, int steps) {
    for (int step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        // Every thread's copies of this step have arrived, and the slot of the step before is free.
        __syncthreads();
        if (step + STAGES - 1 < steps) operands.copy(step + STAGES - 1);
        copy_async_commit();
        Arithmetic::multiply(sums, operands.left_rows(step), operands.right_rows(step));
    }
}

// ---- kernels -------------------------------------------------------------------------------------------------

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
