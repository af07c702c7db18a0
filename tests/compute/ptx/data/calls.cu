// Functions that stay calls: with results, structs, stack variables, divergence inside, calls in calls, and the library's own.
struct Point { float x, y; int tag; };
__device__ __noinline__ int collatz(int x) {
    int steps = 0;
    while (x > 1 && steps < 100) { x = x % 2 ? 3 * x + 1 : x / 2; steps++; }
    return steps;
}
__device__ __noinline__ float norm(Point p, short bias, signed char extra) {
    if (p.tag < 0) return -1.0f;
    return sqrtf(p.x * p.x + p.y * p.y) + bias + extra + collatz(p.tag);
}
__device__ __noinline__ int pick(int seed) {
    int values[8];
    for (int k = 0; k < 8; k++) values[k] = seed * k;
    return values[seed & 7] + values[(seed >> 3) & 7];
}
extern "C" __global__ void calls(const int *in, float *out, int *picked) {
    int t = threadIdx.x, v = in[t];
    Point p = {(float)v, 2.0f, v - 20};
    if (v % 3) out[t] = norm(p, (short)-v, (signed char)v);
    else out[t] = norm(p, 1, -1) * 2.0f;
    picked[t] = pick(v) + pick(v + 1);
}
extern "C" __global__ void library(const double *in, double *out) { int t = threadIdx.x; out[t] = pow(in[t], 1.3) + sin(in[t] * 1e6); }
