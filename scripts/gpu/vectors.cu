// Records what single instructions do on this GPU, as text, one line per case:
//
//     INSTRUCTION CASE | inputs of lane 0 ; of lane 1 ; ... | outputs of lane 0 ; of lane 1 ; ...
//
// Registers are 32-bit words in hexadecimal, in the instruction's order (A, B, C, then metadata). The interpreter
// that tests kernels without a GPU is held against these lines.
#include <cstdio>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common.cuh"

constexpr int INPUTS = 13;
constexpr int OUTPUTS = 4;

enum Instruction { MMA_BF16, MMA_F16, MMA_TF32, SPARSE_BF16, SPARSE_F16, LDMATRIX, LDMATRIX_TRANS, TO_TF32, COUNT };

const char* const NAMES[COUNT] = {"mma.m16n8k16.bf16", "mma.m16n8k16.f16",  "mma.m16n8k8.tf32", "mma.sp.m16n8k32.bf16.0",
                                  "mma.sp.m16n8k32.f16.1", "ldmatrix.x4", "ldmatrix.x4.trans", "cvt.rna.tf32"};
// Registers read per lane.
const int READS[COUNT] = {10, 10, 10, 13, 13, 4, 4, 1};
const int WRITES[COUNT] = {4, 4, 4, 4, 4, 4, 4, 1};

__global__ void record(int instruction, const uint32_t* inputs, uint32_t* outputs) {
    const uint32_t* in = inputs + threadIdx.x * INPUTS;
    uint32_t* out = outputs + threadIdx.x * OUTPUTS;
    uint32_t a[4] = {in[0], in[1], in[2], in[3]};
    __shared__ __align__(16) uint32_t rows[32][4];
    for (int i = 0; i < 4; i++) rows[threadIdx.x][i] = a[i];
    __syncwarp();
    uint32_t loaded[4];
    switch (instruction) {
        case MMA_BF16:
        case MMA_F16:
        case MMA_TF32: {
            uint32_t b[2] = {in[4], in[5]};
            float d[4];
            for (int i = 0; i < 4; i++) d[i] = __uint_as_float(in[6 + i]);
            if (instruction == MMA_BF16) multiply_add<__nv_bfloat16>(d, a, b);
            if (instruction == MMA_F16) multiply_add<__half>(d, a, b);
            if (instruction == MMA_TF32) multiply_add_tf32(d, a, b);
            for (int i = 0; i < 4; i++) out[i] = __float_as_uint(d[i]);
            return;
        }
        case SPARSE_BF16:
        case SPARSE_F16: {
            uint32_t b[4] = {in[4], in[5], in[6], in[7]};
            float d[4];
            for (int i = 0; i < 4; i++) d[i] = __uint_as_float(in[8 + i]);
            if (instruction == SPARSE_BF16) multiply_add_sparse<__nv_bfloat16, 0>(d, a, b, in[12]);
            if (instruction == SPARSE_F16) multiply_add_sparse<__half, 1>(d, a, b, in[12]);
            for (int i = 0; i < 4; i++) out[i] = __float_as_uint(d[i]);
            return;
        }
        case LDMATRIX: load_matrix_x4(loaded, shared_address(rows[threadIdx.x])); break;
        case LDMATRIX_TRANS: load_matrix_x4_transposed(loaded, shared_address(rows[threadIdx.x])); break;
        default: loaded[0] = to_tf32(__uint_as_float(a[0]));
    }
    for (int i = 0; i < 4; i++) out[i] = loaded[i];
}

static uint64_t state = 1;
static uint32_t random_bits() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>(state >> 32);
}

// A float of either small whole numbers, whose sums are exact whatever their order, or of random mantissa.
static float random_value(bool exact) {
    if (exact) return static_cast<float>(static_cast<int>(random_bits() % 17) - 8);
    return (static_cast<float>(random_bits()) / 4294967296.0f - 0.5f) * 4.0f;
}

static uint32_t bits(float x) {
    uint32_t word;
    memcpy(&word, &x, 4);
    return word;
}

static uint32_t packed(Instruction instruction, bool exact) {
    const float low = random_value(exact), high = random_value(exact);
    switch (instruction) {
        case MMA_TF32: return bits(low) & 0xffffe000u;
        case MMA_F16:
        case SPARSE_F16: {
            const __half l = __float2half_rn(low), h = __float2half_rn(high);
            return __half_as_ushort(l) | static_cast<uint32_t>(__half_as_ushort(h)) << 16;
        }
        default: {
            const __nv_bfloat16 l = __float2bfloat16_rn(low), h = __float2bfloat16_rn(high);
            return __bfloat16_as_ushort(l) | static_cast<uint32_t>(__bfloat16_as_ushort(h)) << 16;
        }
    }
}

// Eight groups' pairs of places, each ordered, all six pairs among them.
static uint32_t random_metadata() {
    const uint32_t pairs[6] = {0x4, 0x8, 0xc, 0x9, 0xd, 0xe};
    uint32_t word = 0;
    for (int group = 0; group < 8; group++) word |= pairs[random_bits() % 6] << (4 * group);
    return word;
}

int main() {
    uint32_t *inputs, *outputs;
    if (cudaMallocHost(&inputs, 32 * INPUTS * 4) != cudaSuccess) return 1;
    if (cudaMallocHost(&outputs, 32 * OUTPUTS * 4) != cudaSuccess) return 1;
    for (int instruction = 0; instruction < COUNT; instruction++) {
        for (int number = 0; number < 8; number++) {
            const bool exact = number < 4;
            const int reads = READS[instruction];
            const bool sparse = instruction == SPARSE_BF16 || instruction == SPARSE_F16;
            const int operands = sparse ? 8 : 6;
            for (int lane = 0; lane < 32; lane++) {
                uint32_t* in = inputs + lane * INPUTS;
                for (int i = 0; i < INPUTS; i++) {
                    if (instruction == TO_TF32) in[i] = bits(random_value(exact) * 1.2345678f);
                    else if (instruction >= LDMATRIX) in[i] = random_bits();
                    else if (i < operands) in[i] = packed(static_cast<Instruction>(instruction), exact);
                    else in[i] = bits(random_value(exact));
                }
                if (sparse) in[12] = random_metadata();
            }
            record<<<1, 32>>>(instruction, inputs, outputs);
            if (cudaDeviceSynchronize() != cudaSuccess) return 1;
            printf("%s %s%d |", NAMES[instruction], exact ? "exact" : "random", number);
            for (int lane = 0; lane < 32; lane++) {
                for (int i = 0; i < reads; i++) printf(" %08x", inputs[lane * INPUTS + i]);
                if (lane < 31) printf(" ;");
            }
            printf(" |");
            for (int lane = 0; lane < 32; lane++) {
                for (int i = 0; i < WRITES[instruction]; i++) printf(" %08x", outputs[lane * OUTPUTS + i]);
                if (lane < 31) printf(" ;");
            }
            printf("\n");
        }
    }
    return 0;
}
