extern "C" void spmv(const int *__restrict__ rows, const int *__restrict__ columns, const double *__restrict__ values,
                     const double *__restrict__ x, double *__restrict__ y, int n) {
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int j = rows[i]; j < rows[i + 1]; j++) s += values[j] * x[columns[j]];
        y[i] = s;
    }
}
