// Shared memory, barriers, shuffles: what the threads of a block do together.
#define TILE 16
extern "C" __global__ void matmul(const float *a, const float *b, float *c, int n) {
    __shared__ float left[TILE][TILE], right[TILE][TILE];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * TILE + y, col = blockIdx.x * TILE + x;
    float sum = 0.0f;
    for (int t = 0; t < n / TILE; t++) {
        left[y][x] = a[row * n + t * TILE + x];
        right[y][x] = b[(t * TILE + y) * n + col];
        __syncthreads();
        for (int k = 0; k < TILE; k++) sum += left[y][k] * right[k][x];
        __syncthreads();
    }
    c[row * n + col] = sum;
}
extern "C" __global__ void scan(const int *in, int *out, int n) {
    extern __shared__ int parts[];
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + t, lane = t & 31;
    int v = i < n ? in[i] : 0;
    for (int d = 1; d < 32; d <<= 1) {
        int up = __shfl_up_sync(0xffffffffu, v, d);
        if (lane >= d) v += up;
    }
    if (lane == 31) parts[t >> 5] = v;
    __syncthreads();
    for (int w = 0; w < (t >> 5); w++) v += parts[w];
    if (i < n) out[i] = v;
}
extern "C" __global__ void reverse(int *data, int n) {
    extern __shared__ int tile[];
    int t = threadIdx.x;
    tile[t] = data[blockIdx.x * blockDim.x + t];
    __syncthreads();
    data[blockIdx.x * blockDim.x + t] = tile[blockDim.x - 1 - t];
}
extern "C" __global__ void votes(const int *in, int *out) {
    int t = threadIdx.x, v = in[t];
    out[t] = __ballot_sync(0xffffffffu, v > 0);
    out[t + blockDim.x] = __any_sync(0xffffffffu, v > 90) + 2 * __all_sync(0xffffffffu, v > -200);
    out[t + 2 * blockDim.x] = __syncthreads_count(v > 0);
    out[t + 3 * blockDim.x] = __syncthreads_or(v > 98) + 2 * __syncthreads_and(v > -200);
    out[t + 4 * blockDim.x] = __shfl_sync(0xffffffffu, v, v & 31, 8);
    out[t + 5 * blockDim.x] = __shfl_xor_sync(0xffffffffu, v, 5);
    out[t + 6 * blockDim.x] = __shfl_down_sync(0xffffffffu, v, v & 7, 16);
    out[t + 7 * blockDim.x] = __match_any_sync(0xffffffffu, v & 3);
}
