// The column sweep inside a block (see sweep.cuh): e_i = (w_i - q_i) R_ii, w_j -= e_i U_ij for j > i.
//
//   lane      0        1               31       A warp holds four rows, a lane four columns of each. At turn T all
//          +--------+--------+     +--------+   lanes do what lane T does with its four columns: select, round, and
//   row 0  | 0 .. 3 | 4 .. 7 | ... |..   127|   sweep them with the 4 x 4 triangle of U that they hold. Lane T's
//   row 1  |        |        |     |        |   four errors go to all lanes, which add them times rows 4T.. of U.
//   row 2  |        |        |     |        |   Rows are independent: four of them hide the latency of the
//   row 3  +--------+--------+     +--------+   shuffles, and share what is read of U.
//
// Issue-bound at two warps per scheduler (counts in sweep.cuh); half of the additions meet zeros of U, which is what
// it costs that every lane does the same. U takes 64 KiB of shared memory, so that one block fits a multiprocessor
// of compute capability 8.6, two fit one of 8.0, and registers allow two on 9.0.
#include "sweep.cuh"

// Where the mask comes from.
enum class Choice {
    CUT,    // the histograms of the unstructured selection
    GIVEN,  // the caller
    PAIRS,  // N:2, inside a lane
    QUADS,  // N:4, inside a lane
    WIDE,   // N:8 and more, over several lanes
};

constexpr uint32_t KEPT = 0xffffffffu;

struct SweepShared {
    // U above the 4 x 4 blocks on its diagonal, 0 elsewhere: rows are read whole, without bank conflicts.
    float inverse[BLOCK][BLOCK];
    // U_01 U_02 U_03 U_12 U_13 U_23 of those blocks, one per lane.
    float triangle[6][WARP];
    // Weights of each row that equal the cut.
    uint32_t tied[TILE_ROWS];
    uint32_t tied_before;
};
static_assert(sizeof(SweepShared) == 66436);

// What a lane knows of its four columns.
struct LaneFactor {
    float pivot[LANE_COLUMNS];
    float triangle[6];
};

// Marks N of each M of the lane's columns from `first` on; of equal scores the earlier falls.
template <int OF>
__device__ __forceinline__ void choose_in_lane(const float (&weight)[LANE_COLUMNS], const LaneFactor& factor, int first,
                                               uint32_t falling, uint32_t (&kept)[LANE_COLUMNS]) {
    uint32_t bits[OF], lower[OF] = {};
#pragma unroll
    for (int c = 0; c < OF; ++c) {
        bits[c] = score(weight[first + c], factor.pivot[first + c]);
#pragma unroll
        for (int earlier = 0; earlier < c; ++earlier) {
            const bool below = bits[earlier] <= bits[c];
            lower[c] += below;
            lower[earlier] += !below;
        }
    }
#pragma unroll
    for (int c = 0; c < OF; ++c) kept[first + c] = lower[c] >= falling ? KEPT : 0;
}

// The same for groups of `of` columns over of / 4 lanes; all lanes call it and those whose group `turn` begins take
// the marks.
__device__ __forceinline__ void choose_over_lanes(const float (&weight)[LANE_COLUMNS], const LaneFactor& factor,
                                                  int turn, uint32_t of, uint32_t falling,
                                                  uint32_t (&kept)[LANE_COLUMNS]) {
    const int lane = threadIdx.x % WARP, lanes = of / LANE_COLUMNS, first = lane / lanes * lanes;
    uint32_t bits[LANE_COLUMNS], lower[LANE_COLUMNS] = {};
#pragma unroll
    for (int c = 0; c < LANE_COLUMNS; ++c) bits[c] = score(weight[c], factor.pivot[c]);
    for (int source = first; source < first + lanes; ++source) {
#pragma unroll
        for (int other = 0; other < LANE_COLUMNS; ++other) {
            const uint32_t their = __shfl_sync(ALL_LANES, bits[other], source);
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; ++c) {
                const bool earlier = source < lane || (source == lane && other < c);
                lower[c] += their < bits[c] + earlier;
            }
        }
    }
    if (first == turn) {
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; ++c) kept[c] = lower[c] >= falling ? KEPT : 0;
    }
}

// The dtype's nearest number, ties to even.
template <uint32_t ROUNDING>
__device__ __forceinline__ float round_to(float x) {
    if constexpr (ROUNDING == ROUNDING_F16) return to_float(from_float<__half>(x));
    if constexpr (ROUNDING == ROUNDING_BF16) return to_float(from_float<__nv_bfloat16>(x));
    return x;
}

// A lane's turn: its four columns one after the other, from weights that have seen all columns to the left.
template <Choice CHOICE, uint32_t ROUNDING>
__device__ __forceinline__ void take_turn(const float (&weight)[LANE_COLUMNS], const LaneFactor& factor,
                                          uint32_t falling, uint32_t (&kept)[LANE_COLUMNS],
                                          float (&finished)[LANE_COLUMNS], float (&error)[LANE_COLUMNS]) {
    float w[LANE_COLUMNS] = {weight[0], weight[1], weight[2], weight[3]};
#pragma unroll
    for (int c = 0; c < LANE_COLUMNS; ++c) {
        if constexpr (CHOICE == Choice::PAIRS) {
            if (c % 2 == 0) choose_in_lane<2>(w, factor, c, falling, kept);
        }
        if constexpr (CHOICE == Choice::QUADS) {
            if (c == 0) choose_in_lane<4>(w, factor, 0, falling, kept);
        }
        finished[c] = __uint_as_float(__float_as_uint(round_to<ROUNDING>(w[c])) & kept[c]);
        // Without rounding a kept weight has no error: one operation less on the path from column to column.
        error[c] = ROUNDING == 0 ? __uint_as_float(__float_as_uint(w[c] * factor.pivot[c]) & ~kept[c])
                                 : (w[c] - finished[c]) * factor.pivot[c];
        // Entry (c, later) of the triangle is number c (5 - c) / 2 + later - 1.
#pragma unroll
        for (int later = c + 1; later < LANE_COLUMNS; ++later) {
            w[later] -= error[c] * factor.triangle[c * (5 - c) / 2 + later - 1];
        }
    }
}

// Decides what falls of the weights of this warp's rows in an unstructured block. All threads call it together.
__device__ void mark_cut(const SweepParams& p, const RowTile& tile, SweepShared& shared, const LaneWeights& own,
                         uint32_t (&kept)[WARP_ROWS][LANE_COLUMNS]) {
    const int lane = threadIdx.x % WARP, first = threadIdx.x / WARP * WARP_ROWS;
    const Cut before = p.cuts[p.segments + tile.segment];
    const Found found =
        find_bin<LOW_BINS>(histogram_of(p, p.block, tile.segment) + TOP_BINS + LOW_BINS, before.rest);
    const uint32_t limit = before.prefix * LOW_BINS + found.bin;
    const bool split = 0 < found.rest && found.rest < found.inside;
    uint32_t tied[WARP_ROWS];
#pragma unroll
    for (int r = 0; r < WARP_ROWS; ++r) {
        tied[r] = 0;
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; ++c) {
            const uint32_t bits = score(own.weight[r][c], own.pivot[c]);
            const bool inside = first + r < static_cast<int>(tile.rows) && lane * LANE_COLUMNS + c < static_cast<int>(p.width);
            kept[r][c] = bits < limit || (bits == limit && found.rest > 0) ? 0 : KEPT;
            tied[r] |= static_cast<uint32_t>(inside && bits == limit) << c;
        }
    }
    if (!split) return;  // the same for the whole block: it hangs on the histogram only

    // Ties are broken by position: count those in earlier row tiles, earlier rows and earlier columns.
    if (threadIdx.x == 0) shared.tied_before = 0;
    __syncthreads();
    uint32_t earlier = 0;
    for (uint32_t other = tile.segment_tile + threadIdx.x; other < blockIdx.x; other += THREADS) {
        earlier += p.low_counts[other * static_cast<size_t>(LOW_BINS) + found.bin];
    }
    if (earlier > 0) atomicAdd(&shared.tied_before, earlier);
    uint32_t rank[WARP_ROWS];
#pragma unroll
    for (int r = 0; r < WARP_ROWS; ++r) {
        uint32_t whole_row = 0;
        rank[r] = 0;
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; ++c) {
            const uint32_t lanes = __ballot_sync(ALL_LANES, tied[r] >> c & 1);
            whole_row += __popc(lanes);
            rank[r] += __popc(lanes & ((1u << lane) - 1));
        }
        if (lane == 0) shared.tied[first + r] = whole_row;
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < WARP_ROWS; ++r) {
        rank[r] += shared.tied_before;
        for (int row = 0; row < first + r; ++row) rank[r] += shared.tied[row];
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; ++c) {
            if (tied[r] >> c & 1) kept[r][c] = rank[r]++ < found.rest ? 0 : KEPT;
        }
    }
}

// Finishes the columns of one warp's four rows.
template <Choice CHOICE, uint32_t ROUNDING>
__device__ void sweep_rows(const SweepParams& p, const RowTile& tile, const SweepShared& shared, LaneWeights& own,
                           uint32_t (&kept)[WARP_ROWS][LANE_COLUMNS]) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, first = warp * WARP_ROWS;
    const int width = static_cast<int>(p.width);
    const uint32_t falling = p.of - p.keep;
    LaneFactor factor;
#pragma unroll
    for (int c = 0; c < LANE_COLUMNS; ++c) factor.pivot[c] = own.pivot[c];
#pragma unroll
    for (int i = 0; i < 6; ++i) factor.triangle[i] = shared.triangle[i][lane];

    float finished[LANE_COLUMNS], error[LANE_COLUMNS];
    for (int turn = 0; turn < ceil_div(width, LANE_COLUMNS); ++turn) {
        float u[LANE_COLUMNS][LANE_COLUMNS];
#pragma unroll
        for (int i = 0; i < LANE_COLUMNS; ++i) {
            const float4 quad =
                *reinterpret_cast<const float4*>(&shared.inverse[turn * LANE_COLUMNS + i][lane * LANE_COLUMNS]);
            u[i][0] = quad.x, u[i][1] = quad.y, u[i][2] = quad.z, u[i][3] = quad.w;
        }
        if constexpr (CHOICE == Choice::WIDE) {
            if (turn * LANE_COLUMNS % p.of == 0) {
#pragma unroll
                for (int r = 0; r < WARP_ROWS; ++r) choose_over_lanes(own.weight[r], factor, turn, p.of, falling, kept[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < WARP_ROWS; ++r) {
            // Every lane computes a turn and lane `turn`'s counts. U is 0 for it and for the lanes before it, so
            // finished columns keep the weights that they had at their turn.
            take_turn<CHOICE, ROUNDING>(own.weight[r], factor, falling, kept[r], finished, error);
#pragma unroll
            for (int i = 0; i < LANE_COLUMNS; ++i) {
                const float theirs = __shfl_sync(ALL_LANES, error[i], turn);
#pragma unroll
                for (int c = 0; c < LANE_COLUMNS; ++c) own.weight[r][c] -= theirs * u[i][c];
            }
        }
    }

    const int column = lane * LANE_COLUMNS;
    double loss = 0.0;
#pragma unroll
    for (int r = 0; r < WARP_ROWS; ++r) {
        take_turn<CHOICE, ROUNDING>(own.weight[r], factor, falling, kept[r], finished, error);
        if (first + r >= static_cast<int>(tile.rows) || column >= width) continue;
        const size_t row = tile.first_row + first + r;
        const size_t place = row * p.columns + p.start + column;
        float change[LANE_COLUMNS];
        if (p.columns % LANE_COLUMNS == 0) {
            float4* weight = reinterpret_cast<float4*>(p.weight + place);
            const float4 dense = *weight;
            *weight = make_float4(finished[0], finished[1], finished[2], finished[3]);
            change[0] = dense.x - finished[0], change[1] = dense.y - finished[1];
            change[2] = dense.z - finished[2], change[3] = dense.w - finished[3];
        } else {
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; ++c) {
                change[c] = 0.0f;
                if (column + c >= width) continue;
                change[c] = p.weight[place + c] - finished[c];
                p.weight[place + c] = finished[c];
            }
        }
        *reinterpret_cast<float4*>(p.change + row * p.stride + p.start + column) =
            make_float4(change[0], change[1], change[2], change[3]);
        if constexpr (CHOICE != Choice::GIVEN) {
            if (p.columns % LANE_COLUMNS == 0) {
                *reinterpret_cast<uchar4*>(p.mask + place) =
                    make_uchar4(kept[r][0] & 1, kept[r][1] & 1, kept[r][2] & 1, kept[r][3] & 1);
            } else {
#pragma unroll
                for (int c = 0; c < LANE_COLUMNS; ++c) {
                    if (column + c < width) p.mask[place + c] = kept[r][c] & 1;
                }
            }
        }
#pragma unroll
        for (int c = 0; c < LANE_COLUMNS; ++c) loss += static_cast<double>(error[c]) * static_cast<double>(error[c]);
    }
    loss = warp_sum(loss);
    if (lane == 0) p.loss[blockIdx.x * WARPS + warp] += loss;
}

template <Choice CHOICE>
__device__ __forceinline__ void sweep_columns(const SweepParams& p) {
    extern __shared__ __align__(128) unsigned char dynamic[];
    SweepShared& shared = *reinterpret_cast<SweepShared*>(dynamic);
    const RowTile tile = p.row_tiles[blockIdx.x];
    const int lane = threadIdx.x % WARP, first = threadIdx.x / WARP * WARP_ROWS;
    const int width = static_cast<int>(p.width);
    const float* inverse = inverse_of(p);

    constexpr int PIECES = BLOCK / LANE_COLUMNS;
    for (int piece = threadIdx.x; piece < ceil_div(width, LANE_COLUMNS) * LANE_COLUMNS * PIECES; piece += THREADS) {
        const int row = piece / PIECES, column = piece % PIECES * LANE_COLUMNS;
        const bool above = row / LANE_COLUMNS < column / LANE_COLUMNS && column < width;
        copy_async_16(shared_address(&shared.inverse[row][column]), above ? inverse + row * BLOCK + column : inverse,
                      above);
    }
    copy_async_commit();
    if (threadIdx.x < WARP) {
        const float* corner = inverse + lane * LANE_COLUMNS * (BLOCK + 1);
        int entry = 0;
#pragma unroll
        for (int i = 0; i < LANE_COLUMNS; ++i) {
#pragma unroll
            for (int j = i + 1; j < LANE_COLUMNS; ++j) {
                shared.triangle[entry++][lane] = lane * LANE_COLUMNS < width ? corner[i * BLOCK + j] : 0.0f;
            }
        }
    }

    LaneWeights own;
    load_effective(own, p, tile, first);
    uint32_t kept[WARP_ROWS][LANE_COLUMNS] = {};
    if constexpr (CHOICE == Choice::CUT) mark_cut(p, tile, shared, own, kept);
    if constexpr (CHOICE == Choice::GIVEN) {
#pragma unroll
        for (int r = 0; r < WARP_ROWS; ++r) {
            const size_t place = (tile.first_row + first + r) * static_cast<size_t>(p.columns) + p.start;
#pragma unroll
            for (int c = 0; c < LANE_COLUMNS; ++c) {
                const int column = lane * LANE_COLUMNS + c;
                const bool inside = first + r < static_cast<int>(tile.rows) && column < width;
                if (inside && p.mask[place + column] != 0) kept[r][c] = KEPT;
            }
        }
    }
    copy_async_wait<0>();
    __syncthreads();
    switch (tile.rounding) {
        case ROUNDING_F16: sweep_rows<CHOICE, ROUNDING_F16>(p, tile, shared, own, kept); break;
        case ROUNDING_BF16: sweep_rows<CHOICE, ROUNDING_BF16>(p, tile, shared, own, kept); break;
        default: sweep_rows<CHOICE, 0>(p, tile, shared, own, kept); break;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_columns_cut(const __grid_constant__ SweepParams p) {
    sweep_columns<Choice::CUT>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_columns_given(const __grid_constant__ SweepParams p) {
    sweep_columns<Choice::GIVEN>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_columns_pairs(const __grid_constant__ SweepParams p) {
    sweep_columns<Choice::PAIRS>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_columns_quads(const __grid_constant__ SweepParams p) {
    sweep_columns<Choice::QUADS>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sweep_columns_wide(const __grid_constant__ SweepParams p) {
    sweep_columns<Choice::WIDE>(p);
}
