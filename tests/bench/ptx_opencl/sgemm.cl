#define T 16
__kernel void sgemm(__global const float *restrict A, __global const float *restrict B, __global float *restrict C, int n) {
    __local float As[T][T], Bs[T][T];
    int tx = get_local_id(0), ty = get_local_id(1), r = get_group_id(1) * T + ty, c = get_group_id(0) * T + tx;
    float sum = 0;
    for (int t = 0; t < n / T; t++) {
        As[ty][tx] = A[r * n + t * T + tx];
        Bs[ty][tx] = B[(t * T + ty) * n + c];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < T; k++) sum += As[ty][k] * Bs[k][tx];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    C[r * n + c] = sum;
}
