// sgemm: c = alpha a b + beta c for matrices of float, row by row in memory: a is m x k, b is k x n, c is m x n.
//
// Compile:  nvcc --fmad=false -arch=compute_75 -ptx sgemm.cu
// Try:      p2pcompute kernel check sgemm
//
// CPU reference (sgemm.py is the numpy one):
//     for (int row = 0; row < m; row++)
//       for (int col = 0; col < n; col++) {
//         float sum = 0.0f;
//         for (int i = 0; i < k; i++) sum = fmaf(a[row * k + i], b[i * n + col], sum);
//         c[row * n + col] = alpha * sum + beta * c[row * n + col];
//       }
//
// The fused multiply-add is written out, so every machine rounds once per step, in this order; without it the compiler
// may not fuse and half of a GPU's speed is gone.
//
// How it gets fast: a block of 256 threads makes 128 x 128 elements of c, a warp 64 x 32 of them, a thread 64 in
// registers, as four squares of 4 x 4. For each of 8 steps through k, the block's parts of a and b lie in shared memory,
// a turned, so that a thread loads its 8 + 8 numbers as four vectors and uses each eight times. While it multiplies, the
// next parts are on their way into registers; two halves of shared memory take turns, so one barrier per 8 steps is
// enough.

#define TILE 128
#define STEP 8
#define PITCH (TILE + 4)  // what is stored turned falls into different banks

// Four numbers of row `row` from `col` on; zero outside of rows x cols. `whole`: all are inside, and aligned.
static __device__ float4 load4(const float *matrix, int rows, int cols, int row, int col, bool whole) {
  const float *from = matrix + (size_t)row * cols + col;
  if (whole) return *reinterpret_cast<const float4 *>(from);
  float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (row >= rows) return v;
  if (col < cols) v.x = from[0];
  if (col + 1 < cols) v.y = from[1];
  if (col + 2 < cols) v.z = from[2];
  if (col + 3 < cols) v.w = from[3];
  return v;
}

extern "C" __global__ void __launch_bounds__(256, 2) sgemm(int m, int n, int k, float alpha, const float *a,
                                                           const float *b, float beta, float *c) {
  __shared__ __align__(16) float as[2][STEP][PITCH];
  __shared__ __align__(16) float bs[2][STEP][TILE];
  int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
  int top = blockIdx.y * TILE, left = blockIdx.x * TILE;
  bool whole = top + TILE <= m && left + TILE <= n && k % STEP == 0 && n % 4 == 0;

  int a_row = thread / 2, a_col = thread % 2 * 4;    // which four numbers of a and b this thread fetches
  int b_row = thread / 32, b_col = thread % 32 * 4;
  int row0 = warp / 4 * 64 + lane / 4 * 4;           // its squares begin here and 32 further down,
  int col0 = warp % 4 * 32 + lane % 4 * 4;           // here and 16 further right

  float sums[2][2][4][4] = {};
  float4 from_a = load4(a, m, k, top + a_row, a_col, whole);
  float4 from_b = load4(b, k, n, b_row, left + b_col, whole);
  int half = 0;
  for (int i = 0; i < k; i += STEP) {
    as[half][a_col + 0][a_row] = from_a.x;
    as[half][a_col + 1][a_row] = from_a.y;
    as[half][a_col + 2][a_row] = from_a.z;
    as[half][a_col + 3][a_row] = from_a.w;
    *reinterpret_cast<float4 *>(&bs[half][b_row][b_col]) = from_b;
    __syncthreads();
    if (i + STEP < k) {
      from_a = load4(a, m, k, top + a_row, i + STEP + a_col, whole);
      from_b = load4(b, k, n, i + STEP + b_row, left + b_col, whole);
    }
#pragma unroll
    for (int s = 0; s < STEP; s++) {
      float4 av[2], bv[2];
#pragma unroll
      for (int q = 0; q < 2; q++) {
        av[q] = *reinterpret_cast<const float4 *>(&as[half][s][row0 + 32 * q]);
        bv[q] = *reinterpret_cast<const float4 *>(&bs[half][s][col0 + 16 * q]);
      }
#pragma unroll
      for (int p = 0; p < 2; p++)
#pragma unroll
        for (int q = 0; q < 2; q++) {
          float down[4] = {av[p].x, av[p].y, av[p].z, av[p].w};
          float right[4] = {bv[q].x, bv[q].y, bv[q].z, bv[q].w};
#pragma unroll
          for (int y = 0; y < 4; y++)
#pragma unroll
            for (int x = 0; x < 4; x++) sums[p][q][y][x] = fmaf(down[y], right[x], sums[p][q][y][x]);
        }
    }
    half ^= 1;
  }

#pragma unroll
  for (int p = 0; p < 2; p++)
#pragma unroll
    for (int y = 0; y < 4; y++) {
      int row = top + row0 + 32 * p + y;
#pragma unroll
      for (int q = 0; q < 2; q++) {
        int col = left + col0 + 16 * q;
        float *to = c + (size_t)row * n + col;
        const float *sum = sums[p][q][y];
        if (whole) {
          float4 old = *reinterpret_cast<float4 *>(to);
          *reinterpret_cast<float4 *>(to) = make_float4(alpha * sum[0] + beta * old.x, alpha * sum[1] + beta * old.y,
                                                        alpha * sum[2] + beta * old.z, alpha * sum[3] + beta * old.w);
        } else if (row < m) {
#pragma unroll
          for (int x = 0; x < 4; x++)
            if (col + x < n) to[x] = alpha * sum[x] + beta * to[x];
        }
      }
    }
}
