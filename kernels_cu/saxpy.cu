// saxpy: y = a * x + y, the "hello, world" of GPU computing.
//
// Compile:  nvcc --fmad=false -arch=compute_75 -ptx saxpy.cu
// Try:      p2pcompute kernel check saxpy
//
// CPU reference (saxpy.py is the numpy one):
//     for (int i = 0; i < n; i++) y[i] = a * x[i] + y[i];
//
// One thread per element. Each reads 8 bytes and writes 4 for two flops, so memory speed is all that counts.
// Without fused multiply-add the product is rounded before the sum; numpy does the same, and the bits agree.

extern "C" __global__ void saxpy(int n, float a, const float *x, float *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
