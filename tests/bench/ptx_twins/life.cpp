extern "C" void life(const unsigned char *__restrict__ in, unsigned char *__restrict__ out, int w, int h) {
    for (int y = 1; y < h - 1; y++)
        for (int x = 1; x < w - 1; x++) {
            const unsigned char *p = in + y * w + x;
            int n = p[-w - 1] + p[-w] + p[-w + 1] + p[-1] + p[1] + p[w - 1] + p[w] + p[w + 1];
            out[y * w + x] = n == 3 || (n == 2 && p[0]);
        }
}
