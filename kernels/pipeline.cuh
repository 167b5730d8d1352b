// The tile product behind gemm.cu and spmm24.cu: Y = X W^T + bias, computed as Y^T = W X^T, so that the weights,
// which may be 2:4 sparse, are the tensor cores' operand A.
//
//                         tokens
//                    +----TILE_N----+          A block computes one tile of Y^T. Its warps share the tile out
//                    | X^T, K down  |          as WARPS_M x WARPS_N; a warp holds its part of Y^T in registers.
//             K      +--------------+
//        +--------+  +------+-------+
//        |        |  | warp | warp  |          K is cut into tiles of 128 bytes of a row of X (64 columns of 16
//   TILE_M   W    |  +------+-------+          bits, 32 of f32). STAGES of them lie in shared memory in a ring:
//        |        |  | warp | warp  |
//        +--------+  +------+-------+              slot      0        1        2
//         features                                       compute  arriving  arriving
//
// One barrier per K tile: after waiting for tile k, every warp is done with tile k - 1, whose slot then takes tile
// k + STAGES - 1. Rows in shared memory are split into 16-byte chunks, permuted within the row so that both the
// copies in and the fragment loads out touch all 32 banks. Inside a K tile the fragments of the next step are
// loaded before the products of this one.
//
// Every element of Y is one chain of tensor-core products over K in ascending order, whatever the tile: the choice
// of a tile does not change a bit of the result, nor does the order in which blocks run.
#pragma once

#include "operands.cuh"

constexpr int CHUNK_BYTES = 16;

// Bytes of a row of X in a K tile: one shared-memory line of all 32 banks.
constexpr int X_ROW_BYTES = 128;

// Token tiles that one band of blocks covers: blocks run down the features inside a band, so that blocks under way
// at a time (a hundred or two) form a patch of about 8 by 16 tiles, whose operands the second-level cache holds.
constexpr int BAND = 8;

// Formats of a bias: `Element` of src/matrix.rs in its order.
constexpr int BIAS_F32 = 0;
constexpr int BIAS_F16 = 1;

struct ProductParams {
    const void* x;             // X: 16-bit or f32 [tokens, columns], rows x_stride values apart
    const void* weight;        // W: [features, columns], or its stored half [features, columns / 2] if 2:4 sparse,
                               //    rows weight_stride values apart
    const uint32_t* metadata;  // u32 [columns / 32, metadata_rows] in register order (pack24.cu); null if dense
    const void* bias;          // f32, f16 or bf16 [features], or null
    void* y;                   // Y: as X [tokens, features], rows y_stride values apart
    int64_t x_stride;
    int64_t weight_stride;
    int64_t y_stride;
    int32_t tokens;
    int32_t features;
    int32_t columns;
    int32_t metadata_rows;  // features rounded up to 32
    int32_t bias_element;   // BIAS_F32, BIAS_F16 or else bf16
    int32_t y_aligned;      // whether every row of Y begins on 16 bytes
};
static_assert(sizeof(ProductParams) == 88, "ProductParams of src/pipeline.rs");

// ---- tiles in shared memory ----------------------------------------------------------------------------------

// Where chunk `chunk` of row `row` lies in a tile. Eight rows at one chunk (ldmatrix), eight chunks of one or two
// rows (copies), and 32 bytes of four rows (64-bit loads of half a warp) all fall into different banks.
template <int ROW_BYTES>
__device__ __forceinline__ int chunk_offset(int row, int chunk) {
    static_assert(ROW_BYTES == 64 || ROW_BYTES == 128, "");
    const int turn = ROW_BYTES == 128 ? row % 4 * 2 + row / 4 % 2 : row / 2 % 4;
    return row * ROW_BYTES + (chunk ^ turn) * CHUNK_BYTES;
}

__device__ __forceinline__ uint32_t bits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ uint32_t bits(__half x) { return __half_as_ushort(x); }
__device__ __forceinline__ uint32_t bits(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }

// Copies ROWS rows of ROW_BYTES from a row-major matrix into a tile, zeros where the matrix ends. ALIGNED: rows
// begin on 16 bytes and their length is a multiple of 16 bytes; otherwise value by value, without cp.async.
template <typename T, int ROWS, int ROW_BYTES, int THREADS, bool ALIGNED>
struct TileCopy {
    static constexpr int CHUNKS = ROW_BYTES / CHUNK_BYTES;
    static constexpr int ROWS_AT_ONCE = THREADS / CHUNKS;
    static constexpr int VALUES = CHUNK_BYTES / sizeof(T);
    static_assert(ROWS % ROWS_AT_ONCE == 0 && ROWS_AT_ONCE % 8 == 0, "chunk_offset repeats every 8 rows");

    const T* from;    // this thread's chunk of its first row, K tile 0
    int64_t stride;   // values
    int rows_left;    // rows of the matrix from this thread's first one on
    int columns_left; // columns from this thread's chunk on
    int to;

    __device__ __forceinline__ TileCopy(const void* matrix, int64_t row_stride, int first_row, int rows, int columns) {
        const int row = threadIdx.x / CHUNKS;
        const int chunk = threadIdx.x % CHUNKS;
        from = static_cast<const T*>(matrix) + (first_row + row) * row_stride + chunk * VALUES;
        stride = row_stride * ROWS_AT_ONCE;
        rows_left = rows - first_row - row;
        columns_left = columns - chunk * VALUES;
        to = chunk_offset<ROW_BYTES>(row, chunk);
    }

    __device__ __forceinline__ void start(char* tile, int k_tile) const {
        const int column = k_tile * (ROW_BYTES / static_cast<int>(sizeof(T)));
        char* place = tile + to;
#pragma unroll
        for (int pass = 0; pass < ROWS / ROWS_AT_ONCE; ++pass) {
            const T* source = from + pass * stride + column;
            const bool row_exists = pass * ROWS_AT_ONCE < rows_left;
            if constexpr (ALIGNED) {
                copy_async_16(shared_address(place), source, row_exists && column < columns_left);
            } else {
                uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
                for (int i = 0; i < VALUES; ++i) {
                    if (row_exists && column + i < columns_left) {
                        words[i * sizeof(T) / 4] |= bits(source[i]) << (i * sizeof(T) % 4 * 8);
                    }
                }
                *reinterpret_cast<uint4*>(place) = make_uint4(words[0], words[1], words[2], words[3]);
            }
            place += ROWS_AT_ONCE * ROW_BYTES;
        }
    }
};

// Copies the metadata of ROWS rows of W and STEPS steps of 32 columns: u32 [STEPS, ROWS], as it lies in memory.
// Beyond the last row and column it repeats what the matrix ends with: the values there are zeros, but a product
// may only be given metadata that is well formed.
template <int ROWS, int STEPS, int THREADS>
struct MetadataCopy {
    static constexpr int WORDS = CHUNK_BYTES / sizeof(uint32_t);
    static constexpr int CHUNKS = STEPS * ROWS / WORDS;
    static_assert(CHUNKS <= THREADS, "one chunk per thread");

    const uint32_t* from;  // this thread's chunk, columns 0 to 31
    int64_t rows;          // of a step in memory
    int step;
    int last_step;

    __device__ __forceinline__ MetadataCopy(const ProductParams& p, int first_row) {
        const int row = first_row + threadIdx.x * WORDS % ROWS;
        rows = p.metadata_rows;
        from = p.metadata + (row < rows ? row : rows - WARP + row % WARP);
        step = threadIdx.x * WORDS / ROWS;
        last_step = p.columns / 32 - 1;
    }

    __device__ __forceinline__ void start(char* tile, int k_tile) const {
        if (threadIdx.x < CHUNKS) {
            const int wanted = k_tile * STEPS + step;
            const uint32_t* source = from + (wanted < last_step ? wanted : last_step) * rows;
            copy_async_16(shared_address(tile + threadIdx.x * CHUNK_BYTES), source, true);
        }
    }
};

// ---- the product ---------------------------------------------------------------------------------------------

// How a block's work is cut: M features by N tokens, shared out to WARPS_M x WARPS_N warps, STAGES tiles of K under
// way. `Tile` of src/pipeline.rs holds the same numbers.
template <int M_, int N_, int WARPS_M_, int WARPS_N_, int STAGES_>
struct Tile {
    static constexpr int M = M_;
    static constexpr int N = N_;
    static constexpr int WARPS_M = WARPS_M_;
    static constexpr int WARPS_N = WARPS_N_;
    static constexpr int STAGES = STAGES_;
    static constexpr int THREADS = WARPS_M * WARPS_N * WARP;
    static constexpr int WARP_M = M / WARPS_M;
    static constexpr int WARP_N = N / WARPS_N;
    static_assert(WARP_M % 32 == 0, "one word of metadata per lane covers 32 rows");
    static_assert(WARP_N % 16 == 0, "tokens are loaded by 16");
};

// Bytes of shared memory: the stages, each W, X, metadata; at the end the tile of Y in their place.
template <typename Operands, typename Tile>
struct Layout {
    static constexpr int STEPS = X_ROW_BYTES / Operands::X_STEP_BYTES;
    static constexpr int W_ROW_BYTES = STEPS * 32;
    static constexpr int X_START = Tile::M * W_ROW_BYTES;
    static constexpr int METADATA_START = X_START + Tile::N * X_ROW_BYTES;
    static constexpr int STAGE_BYTES = METADATA_START + (Operands::SPARSE ? Tile::M * STEPS * 4 : 0);
    // 16 more bytes per token: the four tokens and eight features that a warp stores at once hit different banks.
    static constexpr int Y_ROW_BYTES = Tile::M * sizeof(typename Operands::X) + 16;
    static_assert(Tile::N * Y_ROW_BYTES <= Tile::STAGES * STAGE_BYTES, "the tile of Y takes the place of the stages");
};

__device__ __forceinline__ float bias_of(const ProductParams& p, int feature) {
    if (p.bias == nullptr || feature >= p.features) return 0.0f;
    if (p.bias_element == BIAS_F32) return static_cast<const float*>(p.bias)[feature];
    if (p.bias_element == BIAS_F16) return to_float(static_cast<const __half*>(p.bias)[feature]);
    return to_float(static_cast<const __nv_bfloat16*>(p.bias)[feature]);
}

// The fragments of X that one step multiplies, for 16 tokens.
template <typename Operands>
__device__ __forceinline__ void load_tokens(uint32_t (&to)[2][Operands::X_STEP_BYTES / 16], const char* tile,
                                            int place) {
    if constexpr (Operands::X_STEP_BYTES == 32) {
        uint32_t all[4];
        load_matrix_x4(all, shared_address(tile + place));
        to[0][0] = all[0], to[0][1] = all[1], to[1][0] = all[2], to[1][1] = all[3];
    } else if constexpr (Operands::SPARSE) {
        load_matrix_x4(to[0], shared_address(tile + place));
        load_matrix_x4(to[1], shared_address(tile + place + 8 * X_ROW_BYTES));
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            // The second half of the step lies two chunks on.
            const int at = (place ^ (i % 2 * 2 * CHUNK_BYTES)) + i / 2 * 8 * X_ROW_BYTES;
            const uint2 pair = *reinterpret_cast<const uint2*>(tile + at);
            to[i / 2][i % 2 * 2] = pair.x;
            to[i / 2][i % 2 * 2 + 1] = pair.y;
        }
    }
}

// Where this lane's part of `load_tokens` begins, step 0.
template <typename Operands>
__device__ __forceinline__ int tokens_place(int lane) {
    if constexpr (Operands::X_STEP_BYTES == 32) {
        return chunk_offset<X_ROW_BYTES>(lane / 16 * 8 + lane % 8, lane / 8 % 2);
    } else if constexpr (Operands::SPARSE) {
        return chunk_offset<X_ROW_BYTES>(lane % 8, lane / 8);
    } else {
        return chunk_offset<X_ROW_BYTES>(lane / 4, lane % 4 / 2) + lane % 2 * 8;
    }
}

template <typename Operands, typename Tile, bool ALIGNED>
__device__ __forceinline__ void product(const ProductParams& p) {
    using S = Layout<Operands, Tile>;
    using X = typename Operands::X;
    using W = typename Operands::W;
    constexpr int STAGES = Tile::STAGES;
    constexpr int THREADS = Tile::THREADS;
    constexpr int M_TILES = Tile::WARP_M / 16;
    constexpr int N_PAIRS = Tile::WARP_N / 16;
    constexpr int X_REGISTERS = Operands::X_STEP_BYTES / 16;
    extern __shared__ __align__(128) char shared[];

    const int lane = threadIdx.x % WARP;
    const int warp_m = threadIdx.x / WARP % Tile::WARPS_M * Tile::WARP_M;
    const int warp_n = threadIdx.x / WARP / Tile::WARPS_M * Tile::WARP_N;

    // Block number -> tile, band by band.
    const int m_tiles = ceil_div(p.features, Tile::M);
    const int n_tiles = ceil_div(p.tokens, Tile::N);
    const int band = blockIdx.x / (BAND * m_tiles) * BAND;
    const int band_width = min(BAND, n_tiles - band);
    const int in_band = blockIdx.x % (BAND * m_tiles);
    const int first_token = (band + in_band % band_width) * Tile::N;
    const int first_feature = in_band / band_width * Tile::M;

    const TileCopy<W, Tile::M, S::W_ROW_BYTES, THREADS, ALIGNED> copy_w(
        p.weight, p.weight_stride, first_feature, p.features, Operands::SPARSE ? p.columns / 2 : p.columns);
    const TileCopy<X, Tile::N, X_ROW_BYTES, THREADS, ALIGNED> copy_x(p.x, p.x_stride, first_token, p.tokens, p.columns);
    const int k_tiles = ceil_div(p.columns, X_ROW_BYTES / static_cast<int>(sizeof(X)));

    const auto start = [&](int k_tile) {
        if (k_tile < k_tiles) {
            char* stage = shared + k_tile % STAGES * S::STAGE_BYTES;
            copy_w.start(stage, k_tile);
            copy_x.start(stage + S::X_START, k_tile);
            if constexpr (Operands::SPARSE) {
                MetadataCopy<Tile::M, S::STEPS, THREADS>(p, first_feature)
                    .start(stage + S::METADATA_START, k_tile);
            }
        }
        copy_async_commit();
    };

    float sums[M_TILES][2 * N_PAIRS][4] = {};
    const int weight_place = warp_m * S::W_ROW_BYTES + chunk_offset<S::W_ROW_BYTES>(lane % 16, lane / 16);
    const int x_place = warp_n * X_ROW_BYTES + tokens_place<Operands>(lane);

#pragma unroll
    for (int k_tile = 0; k_tile < STAGES - 1; ++k_tile) start(k_tile);
#pragma unroll 1
    for (int k_tile = 0; k_tile < k_tiles; ++k_tile) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        start(k_tile + STAGES - 1);

        const char* stage = shared + k_tile % STAGES * S::STAGE_BYTES;
        // Steps advance by a power of two inside a row, so that the permuted chunk is reached by exclusive or.
        uint32_t w[2][M_TILES][4];
        uint32_t x[2][2][X_REGISTERS];
        const auto load_w = [&](int step) {
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                const int place = (weight_place ^ (step * 32)) + m * 16 * S::W_ROW_BYTES;
                load_matrix_x4(w[step % 2][m], shared_address(stage + place));
            }
        };
        const auto load_x = [&](int turn) {
            const int place = (x_place ^ (turn / N_PAIRS * Operands::X_STEP_BYTES)) + turn % N_PAIRS * 16 * X_ROW_BYTES;
            load_tokens<Operands>(x[turn % 2], stage + S::X_START, place);
        };

        load_w(0);
        load_x(0);
#pragma unroll
        for (int step = 0; step < S::STEPS; ++step) {
            if (step + 1 < S::STEPS) load_w(step + 1);
            uint32_t metadata[M_TILES / 2];
            typename Operands::Weight weight[M_TILES];
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                weight[m] = Operands::weight(w[step % 2][m]);
                if constexpr (Operands::SPARSE) {
                    if (m % 2 == 0) {
                        const char* words = stage + S::METADATA_START;
                        metadata[m / 2] =
                            reinterpret_cast<const uint32_t*>(words)[step * Tile::M + warp_m + m * 16 + lane];
                    }
                } else {
                    metadata[m / 2] = 0;
                }
            }
#pragma unroll
            for (int pair = 0; pair < N_PAIRS; ++pair) {
                const int turn = step * N_PAIRS + pair;
                if (turn + 1 < S::STEPS * N_PAIRS) load_x(turn + 1);
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const typename Operands::Tokens tokens = Operands::tokens(x[turn % 2][half]);
#pragma unroll
                    for (int m = 0; m < M_TILES; m += 2) {
                        float(&even)[4] = sums[m][2 * pair + half];
                        float(&odd)[4] = sums[m + 1][2 * pair + half];
                        Operands::template multiply<0>(even, weight[m], tokens, metadata[m / 2]);
                        Operands::template multiply<1>(odd, weight[m + 1], tokens, metadata[m / 2]);
                    }
                }
            }
        }
    }
    copy_async_wait<0>();
    __syncthreads();

    // Y^T from registers to a tile of Y in shared memory, bias added and rounded once.
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < M_TILES; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int feature = warp_m + m * 16 + half * 8 + group;
            const float bias = bias_of(p, first_feature + feature);
#pragma unroll
            for (int n = 0; n < 2 * N_PAIRS; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int token = warp_n + n * 8 + pair + i;
                    const float sum = sums[m][n][half * 2 + i] + bias;
                    reinterpret_cast<X*>(shared + token * S::Y_ROW_BYTES)[feature] = from_float<X>(sum);
                }
            }
        }
    }
    __syncthreads();

    // From there to memory, a row of a token at a time.
    constexpr int VALUES = CHUNK_BYTES / sizeof(X);
    constexpr int ROW_CHUNKS = Tile::M / VALUES;
    static_assert(Tile::N * ROW_CHUNKS % THREADS == 0, "");
#pragma unroll 4
    for (int chunk = threadIdx.x; chunk < Tile::N * ROW_CHUNKS; chunk += THREADS) {
        const int token = chunk / ROW_CHUNKS;
        const int feature = first_feature + chunk % ROW_CHUNKS * VALUES;
        if (first_token + token < p.tokens && feature < p.features) {
            const char* from = shared + token * S::Y_ROW_BYTES + chunk % ROW_CHUNKS * CHUNK_BYTES;
            X* to = static_cast<X*>(p.y) + (first_token + token) * p.y_stride + feature;
            if (p.y_aligned && feature + VALUES <= p.features) {
                *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
            } else {
                const int count = min(VALUES, p.features - feature);
                for (int i = 0; i < count; ++i) to[i] = reinterpret_cast<const X*>(from)[i];
            }
        }
    }
}
