extern "C" void binary_search(const int *__restrict__ sorted, const int *__restrict__ wanted, int *place, int size, int n) {
    for (int i = 0; i < n; i++) {
        int lo = 0, hi = size, key = wanted[i];
        while (lo < hi) {
            int middle = (lo + hi) >> 1;
            if (sorted[middle] < key) lo = middle + 1;
            else hi = middle;
        }
        place[i] = lo;
    }
}
