// Every launch halves what is above one, says whether there was any, and counts itself.
extern "C" __global__ void settle(int *x, int *moved, int *rounds) {
    if (x[threadIdx.x] > 1) {
        x[threadIdx.x] /= 2;
        atomicOr(moved, 1);
    }
    if (threadIdx.x == 0)
        rounds[0]++;
}
