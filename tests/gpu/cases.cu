// Kernels that behave, and kernels that do not. The order of launches, and what is left behind, can be read from them.
#include <assert.h>
#include <stdio.h>

extern "C" __global__ void store(int *out, int value) { out[blockIdx.x * blockDim.x + threadIdx.x] = value; }

extern "C" __global__ void append_digit(int *out, int digit) { out[threadIdx.x] = 10 * out[threadIdx.x] + digit; }

// `far` so large that no allocation of any device is there.
extern "C" __global__ void far_away(int *out, long long far) {
  if (blockIdx.x == 3 && threadIdx.x == 7) out[far] = 1;
}

extern "C" __global__ void null_store(int *out, int *nowhere) { nowhere[threadIdx.x] = out[threadIdx.x]; }

extern "C" __global__ void misaligned(char *out) { *(volatile int *)(out + 1) = 1; }

extern "C" __global__ void trapped(int *out) {
  if (out[threadIdx.x] == 0) asm volatile("trap;");
}

extern "C" __global__ void asserted(int *out) { assert(out[threadIdx.x] == 1); }

extern "C" __global__ void endless(volatile int *out) {
  while (out[threadIdx.x] < 1) {
  }
}

// Some milliseconds of arithmetic per 100,000 turns, and a result that tells whether all of it was done.
extern "C" __global__ void busy(unsigned *out, int turns) {
  unsigned x = blockIdx.x * blockDim.x + threadIdx.x;
  for (int i = 0; i < turns; i++) x = x * 1664525u + 1013904223u;
  out[blockIdx.x * blockDim.x + threadIdx.x] = x;
}

// How many bytes of a buffer are not zero.
extern "C" __global__ void count_used(const unsigned *from, unsigned *used, int words) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += gridDim.x * blockDim.x)
    if (from[i]) atomicAdd(used, 1u);
}

// Leaves a mark in shared memory, and looks for one that somebody else left there.
extern "C" __global__ void mark_shared(int *out, int words) {
  extern __shared__ volatile int cells[];
  for (int i = threadIdx.x; i < words; i += blockDim.x) cells[i] = 0x5EC2E7;
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = cells[words - 1];
}
extern "C" __global__ void look_shared(int *out, int words) {
  extern __shared__ volatile int cells[];
  int seen = 0;
  for (int i = threadIdx.x; i < words; i += blockDim.x) seen += cells[i] == 0x5EC2E7;
  if (seen) atomicAdd(out, seen);
}

__device__ int kept;
extern "C" __global__ void count_up(int *out) { out[0] = ++kept; }

// What is only as good as each machine's tables, and what depends on the order of threads.
extern "C" __global__ void approximate(const float *x, float *powers, float *roots, float *inverses) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  asm("ex2.approx.f32 %0, %1;" : "=f"(powers[i]) : "f"(x[i]));
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(roots[i]) : "f"(x[i]));
  asm("rcp.approx.f32 %0, %1;" : "=f"(inverses[i]) : "f"(x[i]));
}
extern "C" __global__ void sum_in_any_order(const float *x, float *sum) {
  atomicAdd(sum, x[blockIdx.x * blockDim.x + threadIdx.x]);
}

extern "C" __global__ void speak(int *out, int word) {
  if (threadIdx.x == 0) printf("word %d of %s\n", word, "many");
}

struct Uneven {
  char first;
  double second;
  short third;
  char fourth[5];
};
extern "C" __global__ void unpack(char before, Uneven uneven, char after, double *out) {
  double values[] = {(double)before, (double)uneven.first, uneven.second, (double)uneven.third,
                     (double)uneven.fourth[4], (double)after};
  out[threadIdx.x] = values[threadIdx.x];
}

__constant__ int table[4] = {3, 1, 4, 1};
extern "C" __global__ void look_up(int *out) { out[threadIdx.x] = table[threadIdx.x & 3]; }

// Halves what is above one, says whether there was any, and counts its launches.
extern "C" __global__ void settle(int *x, int *moved, int *rounds) {
  if (x[threadIdx.x] > 1) {
    x[threadIdx.x] /= 2;
    atomicOr(moved, 1);
  }
  if (threadIdx.x == 0) rounds[0]++;
}
