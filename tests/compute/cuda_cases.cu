// Kernels that a CUDA engine can get wrong where a CPU engine cannot.

// One more in every launch.
extern "C" __global__ void count(int *out) {
  if (blockIdx.x == 0) out[threadIdx.x] += 1;
}

extern "C" __global__ void copy_wide(int *to, const int *from) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  to[i] = from[i];
}

__device__ int bumped = 40;

extern "C" __global__ void bump_global(int *out) {
  bumped += 1;
  out[0] = bumped;
}

// The last bytes of the block's shared memory are there.
extern "C" __global__ void dynamic_shared(int *out, int bytes) {
  extern __shared__ int memory[];
  int i = bytes / 4 - blockDim.x + threadIdx.x;
  memory[i] = 256 + threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = memory[i];
}

// A structure between narrower arguments: its place follows from its alignment.
struct Step {
  double scale;
  int offset;
};
extern "C" __global__ void with_struct(char first, Step step, short last, int *out, const int *none) {
  out[0] = first + (int)(step.scale * step.offset) + last + (none == nullptr);
}

// The driver refuses to launch it with more threads.
extern "C" __global__ void __launch_bounds__(32) narrow(int *out) { out[threadIdx.x] = 1; }
