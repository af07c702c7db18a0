#include <algorithm>
extern "C" void bitonic_sort(const unsigned *__restrict__ x, unsigned *__restrict__ y) {
    for (int b = 0; b < 1024; b++) {
        std::copy(x + b * 512, x + b * 512 + 512, y + b * 512);
        std::sort(y + b * 512, y + b * 512 + 512);
    }
}
