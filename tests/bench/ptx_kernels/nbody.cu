extern "C" __global__ void nbody(const float4 *__restrict__ p, float4 *__restrict__ acc, int n, float eps) {
    extern __shared__ float4 sh[];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float4 me = i < n ? p[i] : make_float4(0, 0, 0, 0);
    float ax = 0, ay = 0, az = 0;
    for (int t = 0; t < n; t += blockDim.x) {
        if (t + threadIdx.x < n) sh[threadIdx.x] = p[t + threadIdx.x];
        __syncthreads();
        int m = min((int)blockDim.x, n - t);
        for (int j = 0; j < m; j++) {
            float4 q = sh[j];
            float dx = q.x - me.x, dy = q.y - me.y, dz = q.z - me.z;
            float r2 = dx * dx + dy * dy + dz * dz + eps;
            float inv = 1.0f / sqrtf(r2);
            float s = q.w * inv * inv * inv;
            ax += dx * s, ay += dy * s, az += dz * s;
        }
        __syncthreads();
    }
    if (i < n) acc[i] = make_float4(ax, ay, az, 0);
}
