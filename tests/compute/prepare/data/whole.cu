// kernels: scale add
// A program as people have it: host headers, a local header, helpers, kernels, main.
#include <cuda_runtime.h>
#include <helper_cuda.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "whole.h"

#define CHECK(call)                                                     \
  do {                                                                  \
    cudaError_t status = (call);                                        \
    if (status != cudaSuccess) {                                        \
      fprintf(stderr, "%s:%d: %d\n", __FILE__, __LINE__, (int)status);  \
      exit(1);                                                          \
    }                                                                   \
  } while (0)

static std::vector<float> results;  // a host variable
const float FACTOR = 1.0f / THIRDS;
__constant__ float offset = 2;

__global__ void scale(float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] = half_of(x[i]) * FACTOR + offset;
}

void report(const std::string &text) { std::cout << text << " }{ \" // " << results.size() << std::endl; }

__global__ void add(const float *a, float *b, uint32_t n) {
  uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) b[i] += a[i] * M_PI;
}

int main(int argc, char **argv) {
  float *d;
  CHECK(cudaMalloc(&d, 4 * N_DEFAULT));
  scale<<<N_DEFAULT / 256, 256>>>(d, N_DEFAULT);
  CHECK(cudaDeviceSynchronize());
  report(R"(raw ) " } __global__ text)");
  return 0;
}
