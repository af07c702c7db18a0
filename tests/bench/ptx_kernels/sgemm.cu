#define T 16
extern "C" __global__ void sgemm(const float *__restrict__ A, const float *__restrict__ B, float *__restrict__ C, int n) {
    __shared__ float As[T][T], Bs[T][T];
    int tx = threadIdx.x, ty = threadIdx.y, r = blockIdx.y * T + ty, c = blockIdx.x * T + tx;
    float sum = 0;
    for (int t = 0; t < n / T; t++) {
        As[ty][tx] = A[r * n + t * T + tx];
        Bs[ty][tx] = B[(t * T + ty) * n + c];
        __syncthreads();
        for (int k = 0; k < T; k++) sum += As[ty][k] * Bs[k][tx];
        __syncthreads();
    }
    C[r * n + c] = sum;
}
