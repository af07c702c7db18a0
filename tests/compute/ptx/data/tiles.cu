// cooperative_groups: parts of a warp of every size, and the whole block.
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

template <int Size> __device__ int summed(int v) {
  auto tile = cg::tiled_partition<Size>(cg::this_thread_block());
  for (int d = Size / 2; d > 0; d /= 2) v += tile.shfl_xor(v, d);
  return v * 100 + tile.thread_rank() + 10000 * tile.any(v & 1) + 20000 * tile.all(v & 1) + 40000 * (tile.ballot(1) != 0);
}
extern "C" __global__ void tiles(const int *x, int *y) {
  auto block = cg::this_thread_block();
  int i = block.thread_rank(), n = blockDim.x;
  y[i] = summed<2>(x[i]);
  y[i + n] = summed<4>(x[i]);
  y[i + 2 * n] = summed<8>(x[i]);
  y[i + 3 * n] = summed<16>(x[i]);
  y[i + 4 * n] = summed<32>(x[i]);
  block.sync();
  y[i + 5 * n] = y[n - 1 - i];
}
