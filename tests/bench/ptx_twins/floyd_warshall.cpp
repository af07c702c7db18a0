extern "C" void floyd_warshall(int *d, int n, int k) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int through = d[i * n + k] + d[k * n + j];
            if (through < d[i * n + j]) d[i * n + j] = through;
        }
}
