#include <cstddef>
extern "C" void heat3d(const float *__restrict__ u, float *__restrict__ v, int nx, int ny, int nz, float k) {
    for (int z = 1; z < nz - 1; z++)
        for (int y = 1; y < ny - 1; y++)
            for (int x = 1; x < nx - 1; x++) {
                size_t i = ((size_t)z * ny + y) * nx + x, p = (size_t)nx * ny;
                v[i] = u[i] + k * (u[i - 1] + u[i + 1] + u[i - nx] + u[i + nx] + u[i - p] + u[i + p] - 6.0f * u[i]);
            }
}
