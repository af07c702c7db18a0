// kernels: twice
#include <stdio.h>
#if 0
this is no code: ' " { ( __global__
#endif

#ifdef USE_DOUBLE
typedef double real;
__global__ void twice(real *x, double) {
#else
typedef float real;
__global__ void twice(real *x) {
#endif
  x[threadIdx.x] *= 2;
#ifdef VERBOSE
  printf("%d\n", threadIdx.x);
#endif
}

int main() {
#ifdef VERBOSE
  if (1) {
#else
  if (0) {
#endif
    twice<<<1, 32>>>(nullptr);
  }
  return 0;
}
