__kernel void heat3d(__global const float *restrict u, __global float *restrict v, int nx, int ny, int nz, float k) {
    int x = get_global_id(0), y = get_global_id(1), z = get_global_id(2);
    if (x < 1 || y < 1 || z < 1 || x >= nx - 1 || y >= ny - 1 || z >= nz - 1) return;
    size_t i = ((size_t)z * ny + y) * nx + x, p = (size_t)nx * ny;
    v[i] = u[i] + k * (u[i - 1] + u[i + 1] + u[i - nx] + u[i + nx] + u[i - p] + u[i + p] - 6.0f * u[i]);
}
