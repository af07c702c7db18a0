// The nearest of k centres in eight dimensions.
__kernel void kmeans(__global const float *restrict x, __global const float *restrict centres, __global int *label, int n, int k) {
    int i = get_global_id(0);
    if (i >= n) return;
    float f[8], best = 3.4e38f;
    int at = 0;
    for (int d = 0; d < 8; d++) f[d] = x[i * 8 + d];
    for (int c = 0; c < k; c++) {
        float s = 0;
        for (int d = 0; d < 8; d++) {
            float e = f[d] - centres[c * 8 + d];
            s += e * e;
        }
        if (s < best) best = s, at = c;
    }
    label[i] = at;
}
