// The kernel leaves 256 partial sums, this one sum and zeroes: compared by their totals.
extern "C" void reduce(const float *__restrict__ x, float *__restrict__ out, int n) {
    float v = 0;
    for (int i = 0; i < n; i++) v += x[i];
    out[0] = v;
}
