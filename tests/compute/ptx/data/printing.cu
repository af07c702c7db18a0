// printf and assert, as the headers served to the compiler declare them.
#include <assert.h>
#include <stdio.h>

extern "C" __global__ void speak(const int *p, float x) {
  int i = threadIdx.x;
  if (i % 16 == 3)
    printf("%d.%d: %3d|%-5u|%x|%lld|%5.2f|%-6s|%c|%%|%e|%08.3f|%*d\n", blockIdx.x, i, p[i], 7u, 255, -5000000000ll,
           x * p[i], "ab", 'z', 1e-10, -3.5, 4, i);
}

extern "C" __global__ void counted(int *p) { p[threadIdx.x] = printf("no arguments\n"); }

static __device__ int half_of(int v) {
  assert(v % 2 == 0);
  return v / 2;
}

extern "C" __global__ void checked(int *p) { p[threadIdx.x] = half_of(p[threadIdx.x]); }

extern "C" __global__ void flood(int n) {
  for (int i = 0; i < n; i++) printf("%d of a flood\n", i);
}
