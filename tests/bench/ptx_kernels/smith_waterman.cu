// Best local alignment of `a` with one of many strings per block, by anti-diagonals.
extern "C" __global__ void smith_waterman(const char *a, const char *b, int la, int lb, int *best) {
    __shared__ int d[3][257];
    int t = threadIdx.x;
    for (int k = 0; k < 3; k++) d[k][t] = 0;
    if (t == 0) for (int k = 0; k < 3; k++) d[k][256] = 0;
    __syncthreads();
    int most = 0;
    const char *bb = b + blockIdx.x * lb;
    for (int g = 0; g < la + lb - 1; g++) {
        int c = g % 3, p = (g + 2) % 3, q = (g + 1) % 3, i = t, j = g - t, v = 0;
        if (i < la && j >= 0 && j < lb) {
            int diagonal = t > 0 && j > 0 ? d[q][t - 1] : 0, up = t > 0 ? d[p][t - 1] : 0, left = j > 0 ? d[p][t] : 0;
            v = max(0, max(diagonal + (a[i] == bb[j] ? 2 : -1), max(up, left) - 1));
            most = max(most, v);
        }
        d[c][t] = v;
        __syncthreads();
    }
    atomicMax(best + blockIdx.x, most);
}
