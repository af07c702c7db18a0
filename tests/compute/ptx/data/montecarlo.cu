// Points in the quarter circle, drawn with a counter-based integer hash: exact on every machine.
__device__ unsigned hash(unsigned x) {
    unsigned s = x * 747796405u + 2891336453u;
    unsigned w = ((s >> ((s >> 28) + 4)) ^ s) * 277803737u;
    return (w >> 22) ^ w;
}
extern "C" __global__ void montecarlo(unsigned long long *hits, unsigned seed, int samples, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned long long inside = 0;
    for (int s = 0; s < samples; s++) {
        unsigned a = hash(seed ^ hash(i * 65537u + s)), b = hash(a);
        float x = (a >> 8) * 5.9604645e-8f, y = (b >> 8) * 5.9604645e-8f;
        if (x * x + y * y < 1.0f) inside++;
    }
    hits[i] = inside;
}
