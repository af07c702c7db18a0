extern "C" void saxpy(float a, const float *__restrict__ x, float *__restrict__ y, int n) {
    for (int i = 0; i < n; i++) y[i] = a * x[i] + y[i];
}
