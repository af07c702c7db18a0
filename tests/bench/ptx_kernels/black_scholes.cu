__device__ float normal(float d) {
    float k = 1.0f / (1.0f + 0.2316419f * fabsf(d));
    float p = k * (0.31938153f + k * (-0.356563782f + k * (1.781477937f + k * (-1.821255978f + k * 1.330274429f))));
    float c = 0.39894228f * expf(-0.5f * d * d) * p;
    return d > 0 ? 1.0f - c : c;
}
extern "C" __global__ void black_scholes(const float *__restrict__ price, const float *__restrict__ strike,
                                         const float *__restrict__ years, float *__restrict__ call, float rate,
                                         float volatility, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float s = price[i], x = strike[i], t = years[i], root = volatility * sqrtf(t);
    float d = (logf(s / x) + (rate + 0.5f * volatility * volatility) * t) / root;
    call[i] = s * normal(d) - x * expf(-rate * t) * normal(d - root);
}
