// Inclusive prefix sums within blocks of 256.
extern "C" __global__ void scan(const int *x, int *y, int n) {
    __shared__ int s[32];
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    int v = i < n ? x[i] : 0;
    unsigned l = t & 31;
    for (int o = 1; o < 32; o <<= 1) {
        int u = __shfl_up_sync(~0u, v, o);
        if (l >= o) v += u;
    }
    if (l == 31) s[t >> 5] = v;
    __syncthreads();
    if (t < 32) {
        int w = t < (blockDim.x >> 5) ? s[t] : 0;
        for (int o = 1; o < 32; o <<= 1) {
            int u = __shfl_up_sync(~0u, w, o);
            if (l >= o) w += u;
        }
        s[t] = w;
    }
    __syncthreads();
    if (t >= 32) v += s[(t >> 5) - 1];
    if (i < n) y[i] = v;
}
