// Every state space: constants, module variables, local arrays, generic pointers, structs, vectors, atomics.
__constant__ float weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
__constant__ float host_set[4];
__device__ int counter = 5;
__device__ int table[4];
struct Pair { float scale; double shift; short tag; };
extern "C" __global__ void constants(float *out) { int t = threadIdx.x; out[t] = weights[t & 7] * weights[3] + host_set[t & 3]; }
extern "C" __global__ void globals(int *out) {
    atomicAdd(&counter, 1);
    table[threadIdx.x & 3] = 7;
    out[threadIdx.x] = (int)((unsigned long long)&table[1] - (unsigned long long)&table[0]);
}
extern "C" __global__ void locals(const int *in, int *out) {
    int values[24];
    for (int k = 0; k < 24; k++) values[k] = in[threadIdx.x] * k;
    int sum = 0;
    for (int k = 0; k < in[threadIdx.x]; k++) sum += values[(k * 7 + threadIdx.x) % 24];
    out[threadIdx.x] = sum + values[in[threadIdx.x] % 24];
}
extern "C" __global__ void generic(int *data, int which) {
    __shared__ int tile[64];
    int mine[2] = {which, 3};
    tile[threadIdx.x] = 10 + threadIdx.x;
    __syncthreads();
    int *p = threadIdx.x % 3 == 0 ? data : threadIdx.x % 3 == 1 ? tile : mine;
    p[1] += which;
    asm volatile("" ::: "memory");
    __syncthreads();
    data[threadIdx.x + 2] = threadIdx.x % 3 == 2 ? mine[1] : tile[1];
}
extern "C" __global__ void structs(Pair pair, double *out) { out[threadIdx.x] = pair.scale * threadIdx.x + pair.shift + pair.tag; }
extern "C" __global__ void vectors(const float4 *in, float2 *out) {
    float4 v = in[threadIdx.x];
    out[threadIdx.x] = make_float2(v.x + v.w, v.y * v.z);
}
extern "C" __global__ void histogram(const unsigned char *in, unsigned *bins, int n) {
    __shared__ unsigned local[256];
    for (int b = threadIdx.x; b < 256; b += blockDim.x) local[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[in[i]], 1u);
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += blockDim.x) atomicAdd(&bins[b], local[b]);
}
extern "C" __global__ void float_sum(const float *in, float *out) { atomicAdd(out, in[threadIdx.x]); }
