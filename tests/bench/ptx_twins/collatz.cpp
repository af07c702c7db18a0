extern "C" void collatz(int *steps, unsigned first, int n) {
    for (int i = 0; i < n; i++) {
        unsigned v = first + i;
        int count = 0;
        while (v != 1 && count < 1000) {
            v = v & 1 ? 3 * v + 1 : v >> 1;
            count++;
        }
        steps[i] = count;
    }
}
