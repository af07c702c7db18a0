#include <algorithm>
#include <vector>
extern "C" void smith_waterman(const char *a, const char *b, int la, int lb, int *best) {
    for (int k = 0; k < 128; k++) {
        std::vector<int> row(lb + 1, 0);
        int most = 0;
        for (int i = 0; i < la; i++) {
            int diagonal = 0;
            for (int j = 0; j < lb; j++) {
                int up = row[j + 1];
                int v = std::max(0, std::max(diagonal + (a[i] == b[k * lb + j] ? 2 : -1), std::max(up, row[j]) - 1));
                diagonal = up;
                row[j + 1] = v;
                most = std::max(most, v);
            }
        }
        best[k] = most;
    }
}
