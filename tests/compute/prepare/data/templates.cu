// kernels: fill<float> fill<int> reduce<128> shape::move<unsigned_int,64> widen<double>
#include <cuda_runtime.h>

#include <vector>

template <typename T>
__global__ void fill(T *x, T value) {
  x[threadIdx.x] = value;
}

template <int BLOCK>
__global__ void reduce(const float *x, float *sum) {
  __shared__ float part[BLOCK];
  part[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 0; i < BLOCK; i++) sum[0] += part[i];
}

namespace shape {
template <class T, int N>
__global__ void move(T *x) {
  for (int i = 0; i < N; i++) x[i] = x[i + N];
}
}  // namespace shape

template <class T>
__global__ void widen(T *x, int n) {
  if (threadIdx.x < n) x[threadIdx.x] *= 2;
}

template <typename T>
void run(T *x) {
  fill<T><<<1, 32>>>(x, T(1));
}

int main() {
  const int block = 128;
  std::vector<float> host(32);
  double *wide = nullptr;
  run<float>(nullptr);
  run<int>(nullptr);
  reduce<block><<<1, block>>>(host.data(), host.data());
  shape::move<unsigned int, 64><<<1, 1>>>(nullptr);
  widen<<<1, 32>>>(wide, 32);
}
