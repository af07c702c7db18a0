// Divergence in all shapes.
extern "C" __global__ void collatz(const unsigned *in, int *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned x = in[i];
    int steps = 0;
    while (x != 1) {
        if (x & 1) x = 3 * x + 1; else x >>= 1;
        if (++steps > 500) break;
    }
    out[i] = steps;
}
extern "C" __global__ void nested(const int *in, int *out, int rows) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, sum = 0;
    for (int r = 0; r < rows; r++) {
        if (in[i] % (r + 2) == 0) continue;
        for (int k = 0; k < in[i] % 7; k++) {
            if (k * r > in[i]) break;
            sum += k * r;
            switch ((sum + k) % 5) {
                case 0: sum += 3; break;
                case 1: sum ^= r; break;
                case 2: sum -= k; continue;
                default: sum += i;
            }
        }
        if (sum > 100000) return;
    }
    out[i] = sum;
}
extern "C" __global__ void indices(int *out) {
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
        threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x + 10000 * blockIdx.y + 100000 * blockIdx.z;
}
extern "C" __global__ void shifted(const float *in, float *out, unsigned n) {
    unsigned i = threadIdx.x - 1u;
    if (i < n) out[i] = in[i] + 1.0f;
}
extern "C" __global__ void forever(volatile int *flag) { while (*flag == 0) {} }
extern "C" __global__ void half_barrier(int *out) {
    if (threadIdx.x < 16) __syncthreads();
    out[threadIdx.x] = 1;
}
extern "C" __global__ void stop(int *out) { if (threadIdx.x == 5) asm volatile("trap;"); out[threadIdx.x] = 1; }
