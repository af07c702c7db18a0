extern "C" __global__ void collatz(int *steps, unsigned first, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = first + i;
    int count = 0;
    while (v != 1 && count < 1000) {
        v = v & 1 ? 3 * v + 1 : v >> 1;
        count++;
    }
    steps[i] = count;
}
