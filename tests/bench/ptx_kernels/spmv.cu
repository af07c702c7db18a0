// Sparse matrix (CSR) times vector, one warp per row.
extern "C" __global__ void spmv(const int *__restrict__ rows, const int *__restrict__ columns,
                                const double *__restrict__ values, const double *__restrict__ x,
                                double *__restrict__ y, int n) {
    int w = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, l = threadIdx.x & 31;
    if (w >= n) return;
    double s = 0;
    for (int j = rows[w] + l; j < rows[w + 1]; j += 32) s += values[j] * __ldg(&x[columns[j]]);
    for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
    if (l == 0) y[w] = s;
}
