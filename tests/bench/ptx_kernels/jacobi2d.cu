// Five-point stencil through a shared tile with its halo.
extern "C" __global__ void jacobi2d(const float *__restrict__ u, float *__restrict__ v, int n) {
    __shared__ float s[18][34];
    int tx = threadIdx.x + 1, ty = threadIdx.y + 1;
    int x = blockIdx.x * 32 + tx, y = blockIdx.y * 16 + ty;
    size_t i = (size_t)y * n + x;
    s[ty][tx] = u[i];
    if (tx == 1) s[ty][0] = u[i - 1];
    if (tx == 32) s[ty][33] = u[i + 1];
    if (ty == 1) s[0][tx] = u[i - n];
    if (ty == 16) s[17][tx] = u[i + n];
    __syncthreads();
    v[i] = 0.25f * (s[ty][tx - 1] + s[ty][tx + 1] + s[ty - 1][tx] + s[ty + 1][tx]);
}
