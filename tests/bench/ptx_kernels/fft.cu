// Batched 256-point transforms, radix 2 in shared memory, twiddles from a table.
extern "C" __global__ void fft(const float2 *__restrict__ in, float2 *__restrict__ out, const float2 *__restrict__ twiddle) {
    __shared__ float2 s[256];
    int t = threadIdx.x;
    const float2 *mine = in + blockIdx.x * 256;
    s[__brev(t) >> 24] = mine[t];
    s[__brev(t + 128) >> 24] = mine[t + 128];
    __syncthreads();
    for (int half = 1; half < 256; half <<= 1) {
        int k = t & (half - 1), lo = ((t - k) << 1) + k, hi = lo + half;
        float2 w = twiddle[k * (128 / half)], a = s[lo], b = s[hi];
        float re = b.x * w.x - b.y * w.y, im = b.x * w.y + b.y * w.x;
        s[lo] = make_float2(a.x + re, a.y + im);
        s[hi] = make_float2(a.x - re, a.y - im);
        __syncthreads();
    }
    out[blockIdx.x * 256 + t] = s[t];
    out[blockIdx.x * 256 + t + 128] = s[t + 128];
}
