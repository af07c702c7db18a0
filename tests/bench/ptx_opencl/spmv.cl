// Sparse matrix (CSR) times vector, 32 work-items per row, their sums joined in local memory.
__kernel void spmv(__global const int *restrict rows, __global const int *restrict columns,
                   __global const double *restrict values, __global const double *restrict x,
                   __global double *restrict y, int n) {
    __local double sums[256];
    int t = get_local_id(0), w = get_global_id(0) >> 5, l = t & 31;
    double s = 0;
    if (w < n)
        for (int j = rows[w] + l; j < rows[w + 1]; j += 32) s += values[j] * x[columns[j]];
    sums[t] = s;
    for (int o = 16; o; o >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < o) sums[t] += sums[t + o];
    }
    if (l == 0 && w < n) y[w] = sums[t];
}
