// Points in a quarter circle, from a counter-based generator (PCG's output function).
__device__ unsigned pcg(unsigned x) {
    unsigned s = x * 747796405u + 2891336453u, w = ((s >> ((s >> 28) + 4)) ^ s) * 277803737u;
    return (w >> 22) ^ w;
}
extern "C" __global__ void montecarlo(unsigned *hits, int samples, unsigned seed) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x, count = 0;
    for (int p = 0; p < samples; p++) {
        unsigned a = pcg(seed ^ pcg(i * 7919u + p)), b = pcg(a);
        float x = (a >> 8) * 5.9604645e-8f, y = (b >> 8) * 5.9604645e-8f;
        if (x * x + y * y < 1.0f) count++;
    }
    hits[i] = count;
}
