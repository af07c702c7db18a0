// Library functions that are approximate by nature, and ones that are exact.
extern "C" __global__ void approximate(const float *in, float *out) { int t = threadIdx.x; out[t] = __expf(in[t]) + rsqrtf(in[t]); }
extern "C" __global__ void exact(const float *in, float *out, double *wide) {
    int t = threadIdx.x;
    out[t] = sqrtf(in[t]) / (in[t] + 1.0f) + floorf(in[t]) + fmaf(in[t], 3.0f, 1.0f) + logf(in[t]) * 0.0f;
    wide[t] = sqrt((double)in[t]) / 3.0 + rint((double)in[t]);
}
