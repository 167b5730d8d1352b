// What the warps of attention.cu do with tiles: operands out of shared memory, products, softmax, and the output.
// `Narrow` is for 16-bit elements, `Wide` for 32-bit ones; both have the same members.
#pragma once

#include <math_constants.h>

#include "common.cuh"

constexpr int THREADS = 128;
constexpr int ROWS = 16;  // of an accumulator tile

// The query tile of `Narrow`, later its output tile; then the ring of key and value tiles, which are named by their
// offset here.
extern __shared__ __align__(128) uint8_t memory[];

// The lane's place in an accumulator tile: rows `group` and `group + 8`, columns `2 pair` and `2 pair + 1`.
struct Lane {
    int lane = threadIdx.x % WARP;
    int group = lane / 4;
    int pair = lane % 4;
};

// ---- softmax -------------------------------------------------------------------------------------------------

// Online softmax of 16 query rows. Maxima are of scaled scores, in powers of two.
struct Softmax {
    float maximum[2] = {-CUDART_INF_F, -CUDART_INF_F};
    float sum[2] = {0.0f, 0.0f};  // of this lane's columns

    // Turns scores into 2^(score * scale - maximum); what came before must be multiplied by `shrink`. The rounded
    // product maximum * scale enters every power, so that its error is common to all and cancels.
    template <int TILES>
    __device__ void update(float (&scores)[TILES][4], float scale, float (&shrink)[2]) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float largest = scores[0][2 * half];
#pragma unroll
            for (int n = 0; n < TILES; ++n) {
                largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
            }
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
            const float next = fmaxf(maximum[half], largest * scale);
            shrink[half] = exp2_approx(maximum[half] - next);
            maximum[half] = next;
            float total = 0.0f;
#pragma unroll
            for (int n = 0; n < TILES; ++n) {
#pragma unroll
                for (int column = 2 * half; column < 2 * half + 2; ++column) {
                    scores[n][column] = exp2_approx(fmaf(scores[n][column], scale, -next));
                    total += scores[n][column];
                }
            }
            sum[half] = fmaf(sum[half], shrink[half], total);
        }
    }

    // 1 / sum over all columns.
    __device__ float inverse(int half) const {
        float total = sum[half];
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        return 1.0f / total;
    }
};

// Scores of columns from `valid` on become -inf. Every tile has a valid column, so maxima stay finite.
template <int TILES>
__device__ __forceinline__ void mask_tail(float (&scores)[TILES][4], int valid, int pair) {
#pragma unroll
    for (int n = 0; n < TILES; ++n) {
#pragma unroll
        for (int value = 0; value < 4; ++value) {
            if (8 * n + 2 * pair + value % 2 >= valid) scores[n][value] = -CUDART_INF_F;
        }
    }
}

template <int TILES>
__device__ __forceinline__ void shrink_rows(float (&out)[TILES][4], const float (&shrink)[2]) {
#pragma unroll
    for (int n = 0; n < TILES; ++n) {
#pragma unroll
        for (int value = 0; value < 4; ++value) out[n][value] *= shrink[value / 2];
    }
}

// ---- 16-bit elements -----------------------------------------------------------------------------------------

// Rows of HEAD_DIM values in chunks of 16 bytes. The chunks of a row are permuted so that any eight rows have the
// same chunk in eight different sixteenths of the 128 bytes that shared memory gives at once: ldmatrix is free of
// conflicts. Rows shorter than 128 bytes lie several to a line.
template <int HEAD_DIM>
__device__ __forceinline__ uint32_t chunk_offset(int row, int chunk) {
    constexpr int CHUNKS = HEAD_DIM / 8;
    constexpr int ROWS_PER_LINE = CHUNKS < 8 ? 8 / CHUNKS : 1;
    constexpr int MASK = (CHUNKS < 8 ? CHUNKS : 8) - 1;
    return (row * CHUNKS + (chunk ^ (row / ROWS_PER_LINE & MASK))) * 16;
}

// Address of the chunk `chunks`, an even number, further right than the one at `address`, which must be one of the
// first two of its row: in the permuted order an exclusive or.
__device__ __forceinline__ uint32_t chunks_right(uint32_t address, int chunks) {
    return (address ^ (chunks * 16 % 128)) + chunks * 16 / 128 * 128;
}

// What a block does with tiles of 16-bit values. Tiles begin on a multiple of 128 bytes.
template <typename T, int HEAD_DIM>
struct Narrow {
    using Element = T;
    static constexpr int QUERIES = 128;
    // As many as the registers hold: out takes HEAD_DIM, scores KEYS registers a thread.
    static constexpr int KEYS = HEAD_DIM > 64 ? 48 : 64;
    static constexpr int ROW_BYTES = HEAD_DIM * sizeof(T);
    static constexpr int SLOT_BYTES = KEYS * ROW_BYTES;
    static constexpr int QUERY_BYTES = QUERIES * ROW_BYTES;
    static constexpr int CHUNKS = HEAD_DIM / 8;
    static constexpr int STEPS = HEAD_DIM / 16;
    static constexpr int MATRICES = QUERIES / (THREADS / WARP) / ROWS;  // accumulator tiles of rows per warp
    static constexpr int WARP_ROWS = MATRICES * ROWS;
    // Up to 64 channels the query operands stay in registers; beyond, they are read again for every key tile.
    static constexpr bool RESIDENT = HEAD_DIM <= 64;

    Lane at;
    int first_row = threadIdx.x / WARP * WARP_ROWS;  // of the warp, in the query tile
    Softmax softmax[MATRICES];
    float scores[MATRICES][KEYS / 8][4];
    float out[MATRICES][HEAD_DIM / 8][4] = {};
    uint32_t query[RESIDENT ? STEPS : 1][MATRICES][4];

    template <int COUNT>
    static __device__ void load(uint32_t to, const T* from, int stride, int valid, int head_dim) {
        // A thread copies the same chunk of every STEP-th row; STEP is a multiple of 8, the period of the permutation.
        constexpr int STEP = THREADS / CHUNKS;
        const int chunk = threadIdx.x % CHUNKS;
        int row = threadIdx.x / CHUNKS;
        to += chunk_offset<HEAD_DIM>(row, chunk);
        from += static_cast<size_t>(row) * stride + chunk * 8;
        if (chunk * 8 >= head_dim) valid = 0;
#pragma unroll
        for (int i = 0; i < COUNT / STEP; ++i) {
            copy_async_16(to + i * STEP * CHUNKS * 16, from, row < valid);
            from += STEP * stride;
            row += STEP;
        }
    }

    static __device__ void load_key(int tile, const T* from, int stride, int valid, int head_dim) {
        load<KEYS>(shared_address(memory + tile), from, stride, valid, head_dim);
    }

    static __device__ void load_value(int tile, const T* from, int stride, int valid, int head_dim) {
        load<KEYS>(shared_address(memory + tile), from, stride, valid, head_dim);
    }

    __device__ void load_query(const T* from, int stride, int valid, int head_dim) {
        load<QUERIES>(shared_address(memory), from, stride, valid, head_dim);
    }

    __device__ void query_operands(int step, uint32_t (&to)[MATRICES][4]) const {
#pragma unroll
        for (int m = 0; m < MATRICES; ++m) {
            const int row = first_row + m * ROWS + at.lane % 16;
            const uint32_t first = shared_address(memory) + chunk_offset<HEAD_DIM>(row, at.lane / 16);
            load_matrix_x4(to[m], chunks_right(first, 2 * step));
        }
    }

    // The query tile is in shared memory.
    __device__ void keep_query() {
        if constexpr (RESIDENT) {
#pragma unroll
            for (int step = 0; step < STEPS; ++step) query_operands(step, query[step]);
        }
    }

    // scores = q K^T
    __device__ void multiply_keys(int tile) {
#pragma unroll
        for (int m = 0; m < MATRICES; ++m) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
                for (int value = 0; value < 4; ++value) scores[m][n][value] = 0.0f;
            }
        }
        const uint32_t first =
            shared_address(memory + tile) + chunk_offset<HEAD_DIM>(at.lane / 16 * 8 + at.lane % 8, at.lane / 8 % 2);
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            if constexpr (!RESIDENT) query_operands(step, query[0]);
            const auto& rows = query[RESIDENT ? step : 0];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n += 2) {
                uint32_t key[4];
                load_matrix_x4(key, chunks_right(first, 2 * step) + n * 8 * ROW_BYTES);
                const uint32_t even[2] = {key[0], key[1]}, odd[2] = {key[2], key[3]};
#pragma unroll
                for (int m = 0; m < MATRICES; ++m) {
                    multiply_add<T>(scores[m][n], rows[m], even);
                    multiply_add<T>(scores[m][n + 1], rows[m], odd);
                }
            }
        }
    }

    __device__ void weigh(int valid, float scale) {
#pragma unroll
        for (int m = 0; m < MATRICES; ++m) {
            if (valid < KEYS) mask_tail(scores[m], valid, at.pair);
            float shrink[2];
            softmax[m].update(scores[m], scale, shrink);
            shrink_rows(out[m], shrink);
        }
    }

    // out += P V: the accumulators of two neighbouring score tiles are, packed, the operand of 16 keys.
    __device__ void multiply_values(int tile) {
        const uint32_t first = shared_address(memory + tile) + chunk_offset<HEAD_DIM>(at.lane % 16, at.lane / 16);
#pragma unroll
        for (int step = 0; step < KEYS / 16; ++step) {
            uint32_t weights[MATRICES][4];
#pragma unroll
            for (int m = 0; m < MATRICES; ++m) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float(&pair)[4] = scores[m][2 * step + i / 2];
                    weights[m][i] = pack<T>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
                }
            }
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 8; n += 2) {
                uint32_t value[4];
                load_matrix_x4_transposed(value, chunks_right(first, n) + step * 16 * ROW_BYTES);
                const uint32_t even[2] = {value[0], value[1]}, odd[2] = {value[2], value[3]};
#pragma unroll
                for (int m = 0; m < MATRICES; ++m) {
                    multiply_add<T>(out[m][n], weights[m], even);
                    multiply_add<T>(out[m][n + 1], weights[m], odd);
                }
            }
        }
    }

    // Through the warp's own rows of the query tile, which nobody reads any more, to stores of 16 bytes.
    __device__ void store(T* to, int stride, int valid, int head_dim) {
#pragma unroll
        for (int m = 0; m < MATRICES; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const float inverse = softmax[m].inverse(half);
                const int row = first_row + m * ROWS + half * 8 + at.group;
#pragma unroll
                for (int n = 0; n < HEAD_DIM / 8; ++n) {
                    const uint32_t both = pack<T>(out[m][n][2 * half] * inverse, out[m][n][2 * half + 1] * inverse);
                    *reinterpret_cast<uint32_t*>(memory + chunk_offset<HEAD_DIM>(row, n) + at.pair * 4) = both;
                }
            }
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < WARP_ROWS * CHUNKS / WARP; ++i) {
            const int row = first_row + (i * WARP + at.lane) / CHUNKS, chunk = at.lane % CHUNKS;
            if (row < valid && chunk * 8 < head_dim) {
                const uint4 values = *reinterpret_cast<const uint4*>(memory + chunk_offset<HEAD_DIM>(row, chunk));
                *reinterpret_cast<uint4*>(to + static_cast<size_t>(row) * stride + chunk * 8) = values;
            }
        }
    }
};

// ---- 32-bit elements -----------------------------------------------------------------------------------------

// What a block does with tiles of 32-bit values. Within each eight channels (of q K^T) or keys (of P V) the operands'
// columns t and t + 4 hold numbers 2t and 2t + 1: the order of a sum's terms is free, a lane then reads neighbouring
// channels of a key at once, and P's accumulators are operands as they lie.
template <int HEAD_DIM>
struct Wide {
    using Element = float;
    static constexpr int QUERIES = 64;
    static constexpr int KEYS = 32;
    // Key rows begin 8 banks after each other: 8-byte reads of four rows at a time cover all banks. Value rows 2t and
    // 2t + 1 are read at once by lanes t: pairs of rows must begin 8 banks after each other.
    static constexpr int KEY_PITCH = HEAD_DIM + 8;
    static constexpr int VALUE_PITCH = HEAD_DIM + 4;
    static constexpr int SLOT_BYTES = KEYS * KEY_PITCH * sizeof(float);
    static constexpr int QUERY_BYTES = 0;
    static constexpr int STEPS = HEAD_DIM / 8;
    static constexpr bool RESIDENT = false;  // nothing of the query passes through shared memory

    Lane at;
    int first_row = threadIdx.x / WARP * ROWS;
    Softmax softmax;
    float scores[KEYS / 8][4];
    float out[HEAD_DIM / 8][4] = {};
    float query[STEPS][4];

    template <int PITCH>
    static __device__ void load(uint32_t to, const float* from, int stride, int valid, int head_dim) {
        constexpr int CHUNKS = HEAD_DIM / 4;
        constexpr int STEP = THREADS / CHUNKS;
        const int chunk = threadIdx.x % CHUNKS;
        int row = threadIdx.x / CHUNKS;
        to += (row * PITCH + chunk * 4) * sizeof(float);
        from += static_cast<size_t>(row) * stride + chunk * 4;
        if (chunk * 4 >= head_dim) valid = 0;
#pragma unroll
        for (int i = 0; i < KEYS / STEP; ++i) {
            copy_async_16(to + i * STEP * PITCH * sizeof(float), from, row < valid);
            from += STEP * stride;
            row += STEP;
        }
    }

    static __device__ void load_key(int tile, const float* from, int stride, int valid, int head_dim) {
        load<KEY_PITCH>(shared_address(memory + tile), from, stride, valid, head_dim);
    }

    static __device__ void load_value(int tile, const float* from, int stride, int valid, int head_dim) {
        load<VALUE_PITCH>(shared_address(memory + tile), from, stride, valid, head_dim);
    }

    __device__ void load_query(const float* from, int stride, int valid, int head_dim) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = first_row + half * 8 + at.group;
                float2 both = {0.0f, 0.0f};
                if (row < valid && step * 8 < head_dim) {
                    const float* place = from + static_cast<size_t>(row) * stride + step * 8 + at.pair * 2;
                    both = *reinterpret_cast<const float2*>(place);
                }
                query[step][half] = both.x;
                query[step][half + 2] = both.y;
            }
        }
    }

    __device__ void keep_query() {}

    static __device__ void split(const float (&values)[4], uint32_t (&high)[4], uint32_t (&low)[4]) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const SplitTf32 parts = split_tf32(values[i]);
            high[i] = parts.high;
            low[i] = parts.low;
        }
    }

    static __device__ void multiply(float (&d)[4], const uint32_t (&high)[4], const uint32_t (&low)[4], float b0,
                                    float b1) {
        const SplitTf32 first = split_tf32(b0), second = split_tf32(b1);
        const uint32_t b_high[2] = {first.high, second.high}, b_low[2] = {first.low, second.low};
        multiply_add_3xtf32(d, high, low, b_high, b_low);
    }

    // scores = q K^T
    __device__ void multiply_keys(int tile) {
        const float* key = reinterpret_cast<const float*>(memory + tile) + at.group * KEY_PITCH + at.pair * 2;
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
            for (int value = 0; value < 4; ++value) scores[n][value] = 0.0f;
        }
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            // The parts of the whole query tile would take twice its registers.
#pragma unroll
            for (int i = 0; i < 4; ++i) compute_here(query[step][i]);
            uint32_t high[4], low[4];
            split(query[step], high, low);
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) {
                const float2 both = *reinterpret_cast<const float2*>(key + n * 8 * KEY_PITCH + step * 8);
                multiply(scores[n], high, low, both.x, both.y);
            }
        }
    }

    __device__ void weigh(int valid, float scale) {
        if (valid < KEYS) mask_tail(scores, valid, at.pair);
        float shrink[2];
        softmax.update(scores, scale, shrink);
        shrink_rows(out, shrink);
    }

    // out += P V
    __device__ void multiply_values(int tile) {
        const float* value = reinterpret_cast<const float*>(memory + tile) + at.pair * 2 * VALUE_PITCH + at.group;
#pragma unroll
        for (int step = 0; step < KEYS / 8; ++step) {
            const float(&weights)[4] = scores[step];
            const float operand[4] = {weights[0], weights[2], weights[1], weights[3]};
            uint32_t high[4], low[4];
            split(operand, high, low);
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 8; ++n) {
                const float* place = value + step * 8 * VALUE_PITCH + n * 8;
                multiply(out[n], high, low, place[0], place[VALUE_PITCH]);
            }
        }
    }

    __device__ void store(float* to, int stride, int valid, int head_dim) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float inverse = softmax.inverse(half);
            const int row = first_row + half * 8 + at.group;
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 8; ++n) {
                if (row < valid && n * 8 < head_dim) {
                    float* place = to + static_cast<size_t>(row) * stride + n * 8 + at.pair * 2;
                    *reinterpret_cast<float2*>(place) =
                        make_float2(out[n][2 * half] * inverse, out[n][2 * half + 1] * inverse);
                }
            }
        }
    }
};
