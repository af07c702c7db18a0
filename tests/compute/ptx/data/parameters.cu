// Structures as parameters: arrays inside of them, indexed, and more than 4 KB of them. A managed variable.
struct Weights { float w[1200]; };
extern "C" __global__ void weighted(Weights s, const int *at, float *y) { y[threadIdx.x] = s.w[at[threadIdx.x]]; }

struct Mixed { int n; float c[9]; double d[3]; };
extern "C" __global__ void mixed(Mixed s, const int *at, double *y) {
  int i = at[threadIdx.x];
  y[threadIdx.x] = s.n * s.c[i] + s.d[i % 3];
}

__managed__ int counter[4] = {1, 2, 3, 4};
extern "C" __global__ void managed(int *y) { y[threadIdx.x] = counter[threadIdx.x & 3]; }
