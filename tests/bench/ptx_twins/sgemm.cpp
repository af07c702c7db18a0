extern "C" void sgemm(const float *__restrict__ A, const float *__restrict__ B, float *__restrict__ C, int n) {
    for (int i = 0; i < n; i++) {
        float *__restrict__ c = C + i * n;
        for (int j = 0; j < n; j++) c[j] = 0;
        for (int k = 0; k < n; k++) {
            float a = A[i * n + k];
            for (int j = 0; j < n; j++) c[j] += a * B[k * n + j];
        }
    }
}
