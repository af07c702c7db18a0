// kernels: good
// left out: bad worse
#include "nobody_has_this.h"

__device__ unknown_type broken(int x) { return x; }

__global__ void bad(int *x) { x[0] = broken(x[1]); }

__global__ void good(int *x) { x[0] = x[1]; }

__global__ void worse(int *x) {
  x[0] = not_declared;
}
