struct float2 { float x, y; };
extern "C" void fft(const float2 *__restrict__ in, float2 *__restrict__ out, const float2 *__restrict__ twiddle) {
    for (int b = 0; b < 2048; b++) {
        const float2 *mine = in + b * 256;
        float2 s[256];
        for (int t = 0; t < 256; t++) {
            int r = 0;
            for (int k = 0; k < 8; k++) r |= (t >> k & 1) << (7 - k);
            s[r] = mine[t];
        }
        for (int half = 1; half < 256; half <<= 1)
            for (int group = 0; group < 256; group += 2 * half)
                for (int k = 0; k < half; k++) {
                    float2 w = twiddle[k * (128 / half)], a = s[group + k], b = s[group + k + half];
                    float re = b.x * w.x - b.y * w.y, im = b.x * w.y + b.y * w.x;
                    s[group + k] = {a.x + re, a.y + im};
                    s[group + k + half] = {a.x - re, a.y - im};
                }
        for (int t = 0; t < 256; t++) out[b * 256 + t] = s[t];
    }
}
