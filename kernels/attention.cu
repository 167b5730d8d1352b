// Joint attention of up to three token streams. For every stream s, batch row b and head h
//
//     out_s[b, :, h] = softmax(q_s[b, :, h] k[b, :, h]^T / sqrt(head_dim)) v[b, :, h]
//
// where k and v are those of all streams, one stream after the other. Every tensor is [batch, tokens, heads *
// head_dim], its tokens a stride apart; head_dim is a multiple of 8 up to 128. Softmax and sums are f32.
//
//                     keys and values of one head, tile after tile, stream after stream
//                     +----+----+-    -+--+----+-   -+--+
//     one block       | K0 | K1 | ...  |  | Kj | ... |  |     a stream's last tile is short: its missing rows are
//     one head        +----+----+-    -+--+----+-   -+--+     zeros in shared memory and -inf as scores
//     +-------+       +----+----+-    -+--+----+-   -+--+
//     | query |  -->  | S = q K^T * scale, in registers |     m' = max(m, rows of S)
//     | tile  |       +----+----+-    -+--+----+-   -+--+     P = 2^(S - m'), shrink = 2^(m - m')
//     +-------+       | V0 | V1 | ...  |  | Vj | ... |  |     sum = sum shrink + rows of P
//                     +----+----+-    -+--+----+-   -+--+     out = out shrink + P V       at the end out / sum
//
// No score leaves the registers. A warp owns its query rows, so the softmax needs no exchange beyond the four lanes
// that share a row. The tiles K0 V0 K1 V1 .. pass through a ring of SLOTS slots of shared memory:
//
//     slot 0 | K0      | V1      | K3         while tile n is multiplied, n + 1 has arrived or is arriving and n + 2
//     slot 1 |    V0   |    K2   |    ..      is requested into the slot of n - 1: one barrier per tile, after which
//     slot 2 |       K1|       V2|            nobody reads tile n - 1 any more
//
// 16-bit elements: m16n8k16, four warps of 32 query rows. 32 and not 16 because every warp reads all keys and values
// from shared memory: at 128 channels, per tile of 48 keys, 64 ldmatrix of 512 bytes for 192 products of 2048
// multiply-adds, 12 to a byte. An A100 does 1024 multiply-adds and gives 128 bytes a clock: with 32 rows shared memory
// is busy for 2/3 of the products' time, with 16 for all of it.
// 32-bit elements: m16n8k8 in 3xTF32 (float32 accuracy), four warps of 16 query rows, queries in registers.
//
// FLUX.1, batch 1: 4096 + 512 tokens, 24 heads of 128: 4 * 4608^2 * 3072 = 261 GFLOP, 0.84 ms on an A100 (312 TFLOP/s)
// and 0.26 ms on an H100 (989 with wgmma, of which mma.sync gives less). q, k, v and out are 113 MB, 0.06 ms at 2
// TB/s; keys and values are read by 36 blocks each, 2 GB that the second-level cache serves since neighbouring blocks
// share a head. 510 million exponentials, 0.2 ms at 16 a clock and multiprocessor of an A100, fall beside the other
// block's products. So the tensor cores are the limit. Three products in TF32 (156 TFLOP/s) take 5 ms in float32.
#include "attention_tiles.cuh"

constexpr int MAX_STREAMS = 3;

// Tensors of one stream, all of the kernel's element type.
struct AttentionStream {
    const void* query;  // [batch, tokens, heads * head_dim]
    const void* key;    // the same
    const void* value;  // the same
    void* out;          // the same; not written if query_tiles is 0
    int32_t query_stride;  // values from a token to the next, of each
    int32_t key_stride;
    int32_t value_stride;
    int32_t out_stride;
    int32_t tokens;
    int32_t query_tiles;  // blocks that the stream's queries take: 0 if nobody reads its output
};

// Grid: (query tiles of all streams, heads, batch).
struct AttentionParams {
    AttentionStream stream[MAX_STREAMS];  // those with tokens first
    int32_t head_dim;
    int32_t key_tiles;  // of all streams
    float scale;        // log2(e) / sqrt(head_dim)
    int32_t reserved;
};
static_assert(sizeof(AttentionParams) == 184);

// Two blocks to a multiprocessor: the softmax of one fills the gaps between the products of the other.
constexpr int BLOCKS = 2;
// A copy has the time of two products. The largest kernel then takes 68 KiB: two blocks on 8.0 and 9.0, and one where
// a multiprocessor has 100 KiB.
constexpr int SLOTS = 3;

// The tiles of keys in turn. They do not cross from one stream to the next.
struct KeyTile {
    int stream = 0;
    int first = 0;  // token

    // Rows of a tile of `keys` that hold keys.
    __device__ int valid(const AttentionParams& p, int keys) const {
        return min(keys, p.stream[stream].tokens - first);
    }

    __device__ void advance(const AttentionParams& p, int keys) {
        first += keys;
        if (first >= p.stream[stream].tokens) {
            first = 0;
            ++stream;
        }
    }
};

// The first value of `token` in this block's batch row and head.
template <typename T>
__device__ __forceinline__ T* token_row(T* tensor, int tokens, int token, int stride, int head_dim) {
    return tensor + (static_cast<size_t>(blockIdx.z) * tokens + token) * stride + blockIdx.y * head_dim;
}

template <typename Tiles>
__device__ __forceinline__ void attend(const AttentionParams& p) {
    using T = typename Tiles::Element;
    int stream = 0, query_tile = blockIdx.x;
    while (query_tile >= p.stream[stream].query_tiles) query_tile -= p.stream[stream++].query_tiles;
    const AttentionStream& own = p.stream[stream];
    const int first_query = query_tile * Tiles::QUERIES;
    const int queries = min(Tiles::QUERIES, own.tokens - first_query);

    Tiles tiles;
    const bool busy = tiles.first_row < queries;  // this warp has queries; the others only help to copy
    KeyTile place;                                // of the next tile to load
    int keys = 0;                                 // in the tile loaded last

    auto tile_in = [](int slot) { return Tiles::QUERY_BYTES + slot * Tiles::SLOT_BYTES; };
    auto load_key = [&](int slot) {
        const AttentionStream& s = p.stream[place.stream];
        const T* key = token_row(static_cast<const T*>(s.key), s.tokens, place.first, s.key_stride, p.head_dim);
        Tiles::load_key(tile_in(slot), key, s.key_stride, place.valid(p, Tiles::KEYS), p.head_dim);
    };
    auto load_value = [&](int slot) {
        const AttentionStream& s = p.stream[place.stream];
        const T* value = token_row(static_cast<const T*>(s.value), s.tokens, place.first, s.value_stride, p.head_dim);
        keys = place.valid(p, Tiles::KEYS);
        Tiles::load_value(tile_in(slot), value, s.value_stride, keys, p.head_dim);
        place.advance(p, Tiles::KEYS);
    };
    auto next = [](int slot) { return slot + 1 == SLOTS ? 0 : slot + 1; };

    const T* query = token_row(static_cast<const T*>(own.query), own.tokens, first_query, own.query_stride, p.head_dim);
    tiles.load_query(query, own.query_stride, queries, p.head_dim);
    load_key(0);
    copy_async_commit();
    load_value(1);
    copy_async_commit();
    if constexpr (Tiles::RESIDENT) {
        copy_async_wait<1>();
        __syncthreads();
        if (busy) tiles.keep_query();
    }

    // Every tile is one group of copies, an empty one after the last tile, so that waiting for all but the newest
    // group is waiting for the tile in hand.
    int slot = 0;
    for (int tile = 0; tile < p.key_tiles; ++tile) {
        const bool more = tile + 1 < p.key_tiles;
        const int value_slot = next(slot), free_slot = next(value_slot);
        copy_async_wait<1>();
        __syncthreads();  // the key tile is there, and nobody reads the value tile before it any more
        if (more) load_key(free_slot);
        copy_async_commit();
        if (busy) {
            tiles.multiply_keys(tile_in(slot));
            tiles.weigh(keys, p.scale);
        }
        copy_async_wait<1>();
        __syncthreads();  // the value tile is there, and nobody reads the key tile any more
        if (more) load_value(slot);
        copy_async_commit();
        if (busy) tiles.multiply_values(tile_in(value_slot));
        slot = free_slot;
    }
    T* const out = token_row(static_cast<T*>(own.out), own.tokens, first_query, own.out_stride, p.head_dim);
    if (busy) tiles.store(out, own.out_stride, queries, p.head_dim);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_bf16_32(const __grid_constant__ AttentionParams p) {
    attend<Narrow<__nv_bfloat16, 32>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_bf16_64(const __grid_constant__ AttentionParams p) {
    attend<Narrow<__nv_bfloat16, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_bf16_128(const __grid_constant__ AttentionParams p) {
    attend<Narrow<__nv_bfloat16, 128>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_f16_32(const __grid_constant__ AttentionParams p) {
    attend<Narrow<__half, 32>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_f16_64(const __grid_constant__ AttentionParams p) {
    attend<Narrow<__half, 64>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_f16_128(const __grid_constant__ AttentionParams p) {
    attend<Narrow<__half, 128>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_f32_32(const __grid_constant__ AttentionParams p) {
    attend<Wide<32>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_f32_64(const __grid_constant__ AttentionParams p) {
    attend<Wide<64>>(p);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    attention_f32_128(const __grid_constant__ AttentionParams p) {
    attend<Wide<128>>(p);
}
