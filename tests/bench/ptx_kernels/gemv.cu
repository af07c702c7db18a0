// Matrix times vector, one warp per row.
extern "C" __global__ void gemv(const float *__restrict__ A, const float *__restrict__ x, float *__restrict__ y, int n) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, l = threadIdx.x & 31;
    float s = 0;
    for (int j = l; j < n; j += 32) s += A[(size_t)row * n + j] * x[j];
    for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
    if (l == 0) y[row] = s;
}
