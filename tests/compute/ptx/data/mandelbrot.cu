// Escape times: a divergent loop in two dimensions.
extern "C" __global__ void mandelbrot(int *out, int width, int height, float left, float top, float dx, float dy, int limit) {
    int px = blockIdx.x * blockDim.x + threadIdx.x, py = blockIdx.y * blockDim.y + threadIdx.y;
    if (px >= width || py >= height) return;
    float cx = left + px * dx, cy = top + py * dy, x = 0.0f, y = 0.0f;
    int steps = 0;
    while (steps < limit) {
        float xx = x * x, yy = y * y;
        if (xx + yy > 4.0f) break;
        float next = xx - yy + cx;
        y = 2.0f * x * y + cy;
        x = next;
        steps++;
    }
    out[py * width + px] = steps;
}
