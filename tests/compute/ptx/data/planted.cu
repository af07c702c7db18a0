// Kernels with one planted bug each, and beside them the same without it.
#define N 64
extern "C" __global__ void beyond(const float *in, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) out[i] = in[i];
}
extern "C" __global__ void crooked(const char *in, int *out) { out[threadIdx.x] = *(const int *)(in + threadIdx.x); }
extern "C" __global__ void unwritten(const int *in, int *out) {
    __shared__ int tile[N];
    if (threadIdx.x != 7) tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[N - 1 - threadIdx.x];
}
extern "C" __global__ void accumulate(const int *in, int *out) { out[threadIdx.x] += in[threadIdx.x]; }
extern "C" __global__ void reduce(const int *in, int *out, int forgotten) {
    __shared__ int part[N];
    int t = threadIdx.x;
    part[t] = in[blockIdx.x * N + t];
    __syncthreads();
    for (int d = N / 2; d > 0; d >>= 1) {
        if (t < d) part[t] += part[t + d];
        if (d != forgotten) __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = part[0];
}
extern "C" __global__ void neighbours(int *data, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i + 1 < n) data[i] = data[i + 1] + 1;
}
extern "C" __global__ void count(const int *in, int *bins, int atomically) {
    int *bin = &bins[in[blockIdx.x * blockDim.x + threadIdx.x] & 3];
    if (atomically) atomicAdd(bin, 1);
    else *bin = *bin + 1;
}
extern "C" __global__ void mark(const int *in, int *found) {
    if (in[blockIdx.x * blockDim.x + threadIdx.x] > 5) *found = 1;
}
extern "C" __global__ void half_barrier(int *out) {
    if (threadIdx.x & 1) __syncthreads();
    out[threadIdx.x] = 1;
}
extern "C" __global__ void early_return(const int *in, int *out, int n) {
    __shared__ int tile[N];
    int t = threadIdx.x;
    if (t >= n) return;
    tile[t] = in[t];
    __syncthreads();
    out[t] = tile[n - 1 - t];
}
extern "C" __global__ void lonely_shuffle(const int *in, int *out) {
    int v = in[threadIdx.x];
    if (threadIdx.x < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
    else while (v < 100) { v = __shfl_down_sync(0xffffffffu, v, 2) + 1; }
    out[threadIdx.x] = v;
}
extern "C" __global__ void stop(int *out) { out[threadIdx.x] = threadIdx.x; if (threadIdx.x == 5) __trap(); }
extern "C" __global__ void in_warp(const int *in, int *out, int synced) {
    __shared__ int tile[32];
    tile[threadIdx.x] = in[threadIdx.x];
    if (synced) __syncwarp();
    out[threadIdx.x] = tile[31 - threadIdx.x];
}
extern "C" __global__ void shuffled(const int *in, int *out) {
    int v = in[blockIdx.x * blockDim.x + threadIdx.x];
    for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
    if ((threadIdx.x & 31) == 0) atomicAdd(out, v);
}
extern "C" __global__ void relay(const int *in, int *out, int fenced) {
    __shared__ volatile int value;
    __shared__ int ready;
    if (threadIdx.x == 0) ready = 0;
    __syncthreads();
    if (threadIdx.x == 40) { value = in[0]; if (fenced) __threadfence_block(); atomicExch(&ready, 1); }
    if (threadIdx.x == 0) { while (atomicAdd(&ready, 0) == 0) { } out[0] = value; }
}
extern "C" __global__ void last_block(const int *in, int *parts, int *sums, int fenced) {
    __shared__ bool is_last;
    int v = in[blockIdx.x * blockDim.x + threadIdx.x];
    for (int d = 16; d > 0; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = v;
        if (fenced) __threadfence();
        is_last = atomicAdd(&sums[0], 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (is_last && threadIdx.x == 3) for (int b = 0; b < gridDim.x; b++) sums[1] += ((volatile int *)parts)[b];
}
extern "C" __global__ void endless(int *out) { while (atomicAdd(out, 0) == 0) { } }
