// Kernels that behave, and kernels that do not.
#include <stdio.h>

extern "C" __global__ void store(int *out, int index, int value) { out[index] = value; }

// out[i] = 10 * out[i] + digit: the order of launches can be read from the digits.
extern "C" __global__ void append_digit(int *out, int digit) { out[threadIdx.x] = 10 * out[threadIdx.x] + digit; }

extern "C" __global__ void copy(int *to, const int *from) { to[threadIdx.x] = from[threadIdx.x]; }

extern "C" __global__ void past_the_end(float *out) {
  if (blockIdx.x == 3 && threadIdx.x == 7) out[1 << 20] = 1.0f;
}

extern "C" __global__ void endless(volatile int *out) {
  while (out[threadIdx.x] < 1) {
  }
}

extern "C" __global__ void speak(int *out, int word) {
  if (threadIdx.x == 0) printf("word %d\033[31m\n", word);
}
