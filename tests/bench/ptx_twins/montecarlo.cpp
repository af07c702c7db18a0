static unsigned pcg(unsigned x) {
    unsigned s = x * 747796405u + 2891336453u, w = ((s >> ((s >> 28) + 4)) ^ s) * 277803737u;
    return (w >> 22) ^ w;
}
extern "C" void montecarlo(unsigned *hits, int samples, unsigned seed) {
    for (unsigned i = 0; i < 16384; i++) {
        unsigned count = 0;
        for (int p = 0; p < samples; p++) {
            unsigned a = pcg(seed ^ pcg(i * 7919u + p)), b = pcg(a);
            float x = (a >> 8) * 5.9604645e-8f, y = (b >> 8) * 5.9604645e-8f;
            if (x * x + y * y < 1.0f) count++;
        }
        hits[i] = count;
    }
}
