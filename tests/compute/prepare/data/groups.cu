// kernels: sums
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
namespace cg = cooperative_groups;
using namespace std;
using namespace cooperative_groups;

__global__ void sums(int *x) {
  thread_block block = this_thread_block();
  auto tile = cg::tiled_partition<32>(block);
  int v = x[block.thread_rank()];
  for (int i = tile.size() / 2; i > 0; i /= 2) v += tile.shfl_down(v, i);
  block.sync();
  if (tile.thread_rank() == 0) x[0] = v;
}

int main() { sums<<<1, 64>>>(nullptr); }
