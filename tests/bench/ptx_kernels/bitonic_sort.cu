// Sorts every 512 numbers in shared memory.
extern "C" __global__ void bitonic_sort(const unsigned *__restrict__ x, unsigned *__restrict__ y) {
    __shared__ unsigned s[512];
    int t = threadIdx.x;
    s[t] = x[blockIdx.x * 512 + t];
    __syncthreads();
    for (int k = 2; k <= 512; k <<= 1)
        for (int j = k >> 1; j > 0; j >>= 1) {
            int o = t ^ j;
            if (o > t) {
                unsigned a = s[t], b = s[o];
                if ((a > b) == ((t & k) == 0)) s[t] = b, s[o] = a;
            }
            __syncthreads();
        }
    y[blockIdx.x * 512 + t] = s[t];
}
