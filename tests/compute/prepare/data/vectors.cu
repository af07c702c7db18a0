// kernels: light draw limits
#include <curand_kernel.h>
#include <helper_math.h>

#include <array>
#include <cuda/std/limits>
#include <limits>
#include <type_traits>
#include <utility>

__global__ void light(const float3 *normal, float3 sun, float4 *out) {
  float3 n = normalize(normal[threadIdx.x]);
  float shade = clamp(dot(n, sun), 0.0f, 1.0f);
  out[threadIdx.x] = make_float4(cross(n, sun) * shade, 1.0f) + lerp(make_float4(0), make_float4(1), shade);
}

__global__ void draw(float *x, unsigned long long seed) {
  curandState state;
  curand_init(seed, threadIdx.x, 0, &state);
  x[threadIdx.x] = curand_uniform(&state) + curand_normal(&state);
}

template <class T>
__device__ typename std::enable_if<std::is_floating_point<T>::value, T>::type largest() {
  return std::numeric_limits<T>::max();
}

__global__ void limits(float *x, int *y) {
  std::array<int, 2> pair{{cuda::std::numeric_limits<int>::lowest(), 1}};
  std::swap(pair[0], pair[1]);
  x[0] = largest<float>();
  y[0] = pair[1] + std::make_pair(1, 2.0f).first;
}
