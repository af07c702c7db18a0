extern "C" void kmeans(const float *__restrict__ x, const float *__restrict__ centres, int *label, int n, int k) {
    for (int i = 0; i < n; i++) {
        float best = 3.4e38f;
        int at = 0;
        for (int c = 0; c < k; c++) {
            float s = 0;
            for (int d = 0; d < 8; d++) {
                float e = x[i * 8 + d] - centres[c * 8 + d];
                s += e * e;
            }
            if (s < best) best = s, at = c;
        }
        label[i] = at;
    }
}
