__kernel void mandelbrot(__global int *out, int w, int h, float x0, float y0, float dx, float dy, int limit) {
    int px = get_global_id(0), py = get_global_id(1);
    if (px >= w || py >= h) return;
    float cx = x0 + px * dx, cy = y0 + py * dy, x = 0, y = 0;
    int it = 0;
    while (it < limit) {
        float xx = x * x, yy = y * y;
        if (xx + yy > 4.0f) break;
        y = 2.0f * x * y + cy;
        x = xx - yy + cx;
        it++;
    }
    out[py * w + px] = it;
}
