__kernel void nbody(__global const float4 *restrict p, __global float4 *restrict acc, int n, float eps) {
    __local float4 sh[256];
    int i = get_global_id(0), l = get_local_id(0), size = get_local_size(0);
    float4 me = i < n ? p[i] : (float4)(0, 0, 0, 0);
    float ax = 0, ay = 0, az = 0;
    for (int t = 0; t < n; t += size) {
        if (t + l < n) sh[l] = p[t + l];
        barrier(CLK_LOCAL_MEM_FENCE);
        int m = min(size, n - t);
        for (int j = 0; j < m; j++) {
            float4 q = sh[j];
            float dx = q.x - me.x, dy = q.y - me.y, dz = q.z - me.z;
            float r2 = dx * dx + dy * dy + dz * dz + eps;
            float inv = 1.0f / sqrt(r2);
            float s = q.w * inv * inv * inv;
            ax += dx * s, ay += dy * s, az += dz * s;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (i < n) acc[i] = (float4)(ax, ay, az, 0);
}
