// mandelbrot: how many steps z = z^2 + c takes to leave the disc of radius 2, for every pixel c.
//
// Compile:  nvcc --fmad=false -arch=compute_75 -ptx mandelbrot.cu
// Try:      p2pcompute kernel check mandelbrot
//
// CPU reference (mandelbrot.py is the numpy one): the same loop over every pixel.
//
// One thread per pixel, in a two-dimensional grid. Neighbouring pixels take about equally long, so the 32 threads of a
// warp mostly leave the loop together; at the edge of the set they do not, and the warp waits for its slowest thread.
// No memory but one store per pixel: this is a pure test of arithmetic.

extern "C" __global__ void mandelbrot(int width, int height, float left, float top, float step, int steps_max,
                                      int *steps) {
  int px = blockIdx.x * blockDim.x + threadIdx.x;
  int py = blockIdx.y * blockDim.y + threadIdx.y;
  if (px >= width || py >= height) return;
  float cx = left + (float)px * step;
  float cy = top - (float)py * step;
  float x = 0.0f, y = 0.0f;
  int n = 0;
  while (n < steps_max) {
    float xx = x * x, yy = y * y;
    if (xx + yy > 4.0f) break;
    y = 2.0f * x * y + cy;  // the old x: y goes first
    x = xx - yy + cx;
    n++;
  }
  steps[py * width + px] = n;
}
