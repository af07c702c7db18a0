extern "C" __global__ void heat3d(const float *__restrict__ u, float *__restrict__ v, int nx, int ny, int nz, float k) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x < 1 || y < 1 || z < 1 || x >= nx - 1 || y >= ny - 1 || z >= nz - 1) return;
    size_t i = ((size_t)z * ny + y) * nx + x, p = (size_t)nx * ny;
    v[i] = u[i] + k * (u[i - 1] + u[i + 1] + u[i - nx] + u[i + nx] + u[i - p] + u[i + p] - 6.0f * u[i]);
}
