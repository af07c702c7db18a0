extern "C" void transpose(const float *__restrict__ in, float *__restrict__ out, int n) {
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) out[x * n + y] = in[y * n + x];
}
