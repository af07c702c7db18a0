#include <cmath>
struct float4 { float x, y, z, w; };
extern "C" void nbody(const float4 *__restrict__ p, float4 *__restrict__ acc, int n, float eps) {
    for (int i = 0; i < n; i++) {
        float4 me = p[i];
        float ax = 0, ay = 0, az = 0;
        for (int j = 0; j < n; j++) {
            float dx = p[j].x - me.x, dy = p[j].y - me.y, dz = p[j].z - me.z;
            float r2 = dx * dx + dy * dy + dz * dz + eps;
            float inv = 1.0f / sqrtf(r2);
            float s = p[j].w * inv * inv * inv;
            ax += dx * s, ay += dy * s, az += dz * s;
        }
        acc[i] = {ax, ay, az, 0};
    }
}
