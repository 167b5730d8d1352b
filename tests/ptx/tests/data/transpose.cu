// out = in^T through a padded tile of shared memory, 32 x 8 threads per block.
struct Transpose {
    const float* in;  // f32 [rows, columns]
    float* out;       // f32 [columns, rows]
    int rows, columns;
};

extern "C" __global__ void transpose(const __grid_constant__ Transpose p) {
    __shared__ float tile[32][33];
    int column = blockIdx.x * 32 + threadIdx.x;
    for (int j = threadIdx.y; j < 32; j += 8) {
        int row = blockIdx.y * 32 + j;
        if (row < p.rows && column < p.columns) {
            tile[j][threadIdx.x] = p.in[row * p.columns + column];
        }
    }
    __syncthreads();
    int row = blockIdx.y * 32 + threadIdx.x;
    for (int j = threadIdx.y; j < 32; j += 8) {
        int column = blockIdx.x * 32 + j;
        if (row < p.rows && column < p.columns) {
            p.out[column * p.rows + row] = tile[threadIdx.x][j];
        }
    }
}
