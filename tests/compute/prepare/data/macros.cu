// kernels: add_float add_int
#include <stdlib.h>
#define MAKE_ADD(T)                                    \
  __global__ void add_##T(const T *a, T *b) {          \
    b[threadIdx.x] = plus_##T(a[threadIdx.x], BIAS);   \
  }
#define BIAS 3
#define DEVICE __device__ __forceinline__

DEVICE float plus_float(float a, float b) { return a + b; }
DEVICE int plus_int(int a, int b) { return a + b; }
MAKE_ADD(float)
MAKE_ADD(int)

int main() { return system("true"); }
