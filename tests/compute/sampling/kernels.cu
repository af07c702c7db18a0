// Small kernels for the provers: a, b are buffers, n and m scalars. Some are eligible, some only look it.
#define K extern "C" __global__ void
#define X (blockIdx.x * blockDim.x + threadIdx.x)
#define Y (blockIdx.y * blockDim.y + threadIdx.y)
#define Z (blockIdx.z * blockDim.z + threadIdx.z)
#define BLOCK (blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z))
#define ARGS (float *a, float *b, int n, int m)

K flat ARGS { a[X] = b[X] + 1; }
K flat_guarded ARGS { int i = X; if (i < n) a[i] += 1; }
K flat_unsigned ARGS { unsigned i = X; if (i < (unsigned)n) a[i] += 1; }
K flat_size_t ARGS { size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; if (i < n) a[i] = b[i]; }
K shifted ARGS { int i = X; if (i + m < n) a[i + m] = 2; }
K reversed_order ARGS { int i = X; if (i < n) a[n - 1 - i] = b[i]; }
K neighbour_in_place ARGS { int i = X; if (i > 0 && i < n) a[i] = a[i - 1]; }
K neighbour_elsewhere ARGS { int i = X; if (i > 0 && i < n - 1) a[i] = b[i - 1] + b[i + 1]; }
K two_dimensions ARGS { int x = X, y = Y; if (x < n && y < m) a[y * n + x] = 1; }
K two_dimensions_no_guard ARGS { a[Y * n + X] = 1; }
K transposed ARGS { int x = X, y = Y; if (x < n && y < m) a[x * m + y] = b[y * n + x]; }
K three_dimensions ARGS { int x = X, y = Y, z = Z; if (x < 8 && y < 8) a[(z * 8 + y) * 8 + x] = 1; }
K fixed_tile ARGS { a[blockIdx.x * 16 + threadIdx.x] = 1; }
K fixed_tile_guarded ARGS { if (threadIdx.x < 16) a[blockIdx.x * 16 + threadIdx.x] = 1; }
K tile_with_halo ARGS { a[blockIdx.x * 30 + threadIdx.x] = 1; }
K per_block ARGS { if (threadIdx.x == 0) a[blockIdx.x] = b[blockIdx.x]; }
K per_linear_block ARGS { if (threadIdx.x + threadIdx.y + threadIdx.z == 0) a[BLOCK] = 3; }
K first_block_only ARGS { if (blockIdx.x == 0) a[threadIdx.x] = 1; }
K two_blocks_one_place ARGS { if (blockIdx.x == 0) a[threadIdx.x] = 1; if (blockIdx.x == 1) a[threadIdx.x] = 2; }
K first_thread_of_all ARGS { int i = X; if (i == 0) a[0] = 1; }
K every_block_one_place ARGS { a[threadIdx.x] = 1; }
K guard_narrows_compound ARGS { int i = blockIdx.x * 8 + threadIdx.x; if (i < n) a[i] = 1; }
K either_guard ARGS { int x = X, y = Y; if (x < n || y < m) a[y * n + x] = 1; }
K early_exit ARGS { int i = X; if (i >= n) return; if (i < m) return; a[i] = 1; }
K grid_stride ARGS { for (int i = X; i < n; i += gridDim.x * blockDim.x) a[i] = b[i]; }
K grid_stride_two ARGS { for (int i = 2 * X; i + 1 < n; i += 2 * gridDim.x * blockDim.x) { a[i] = 1; a[i + 1] = 2; } }
K block_stride ARGS { for (int i = threadIdx.x; i < 64; i += blockDim.x) a[blockIdx.x * 64 + i] = i; }
K block_stride_too_far ARGS { for (int i = threadIdx.x; i < n; i += blockDim.x) a[blockIdx.x * 64 + i] = i; }
K short_stride ARGS { for (int i = X; i < n; i += blockDim.x) a[i] = 1; }
K loop_of_eight ARGS { for (int k = 0; k < 8; k++) a[X * 8 + k] = k; }
K loop_of_m ARGS { for (int k = 0; k < m; k++) a[X * 8 + k] = k; }
K loop_down ARGS { for (int k = 7; k >= 0; k--) a[X * 8 + k] = k; }
K columns ARGS { for (int k = 0; k < 8; k++) a[k * n + X] = b[X]; }
K conditional_step ARGS { int j = X; for (int k = 0; k < 4; k++) { a[j] = k; if (b[k] > 0) j += 1; } }
K doubling ARGS { int j = X; for (int k = 0; k < 4 && j < n; k++) { a[j] = k; j = 2 * j + 1; } }
K triangle ARGS { int i = X; for (int k = 0; k <= i && i < 64; k++) a[i * (i + 1) / 2 + k] = 1; }
K structure_of_arrays ARGS { int i = X; if (i < n) { a[i] = 1; a[i + n] = 2; a[i + 2 * n] = 3; } }
K structure_too_narrow ARGS { int i = X; if (i < n) { a[i] = 1; a[i + m] = 2; } }
K array_of_structures ARGS { int i = X; if (3 * i < n) { a[3 * i] = 1; a[3 * i + 2] = 2; } }
K array_of_structures_too_wide ARGS { int i = X; if (2 * i < n) { a[2 * i] = 1; a[2 * i + 2] = 2; } }
K vectors ARGS { int i = X; if (4 * i < n) ((float4 *)a)[i] = ((float4 *)b)[i]; }
K vectors_and_words ARGS { int i = X; if (4 * i < n) { ((float4 *)a)[i] = make_float4(1, 2, 3, 4); a[4 * i + 1] = 5; } }
K bytes ARGS { int i = X; if (i < n) ((char *)a)[i] = 1; }
K bytes_and_words ARGS { int i = X; if (i < n) { ((char *)a)[i] = 1; } if (i < n / 4) a[i] = 1; }
K divided ARGS { int i = X; if (i < n) { int y = i / 12, x = i % 12; a[y * 12 + x] = b[x * 2 + y]; } }
K divided_transposed ARGS { int i = X; if (i < n) { int y = i / 8, x = i % 8; a[x * 512 + y] = 1; } }
K divided_badly ARGS { int i = X; if (i < n) { int y = i / 12, x = i % 12; a[y * 8 + x] = 1; } }
K warps ARGS { int w = X / 32; if (threadIdx.x % 32 == 0) a[w] = 1; }
K half_warps ARGS { int w = X / 64; if (threadIdx.x % 64 == 0) a[w] = 1; }
K swizzled ARGS { int by = blockIdx.x / 2, bx = blockIdx.x % 2; a[(by * 4 + threadIdx.y) * 64 + bx * 32 + threadIdx.x % 32] = 1; }
K modulo_buffer ARGS { a[X % 64] = 1; }
K masked ARGS { a[X & 1023] = 1; }
K exclusive_or ARGS { a[X ^ 1] = 1; }
K minimum ARGS { a[min((int)X, n - 1)] = 1; }
K index_from_memory ARGS { a[(int)b[X]] = 1; }
K guard_from_memory ARGS { if (b[X] > 0.5f) a[X] = 1; }
K guard_from_own_memory ARGS { if (a[X] > 0.5f) a[X] = 1; }
K loop_from_memory ARGS { for (int k = 0; k < (int)b[X] % 4; k++) a[X * 4 + k] = 1; }
K either_buffer ARGS { float *p = n > m ? a : b; p[X] = 1; }
K either_buffer_by_thread ARGS { float *p = threadIdx.x < 4 ? a : b; p[X] = 1; }
K moving_pointer ARGS { float *p = a + X * 8; for (int k = 0; k < 8; k++) *p++ = k; }
K atomic ARGS { atomicAdd((int *)a, 1); }
K unordered ARGS
{
    __shared__ float sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads(); atomicAdd(&sum, b[X]); __syncthreads();
    a[X] = sum;
}
K volatile_store ARGS { ((volatile float *)a)[X] = 1; }
__device__ float kept[64];
K module_variable ARGS { kept[threadIdx.x] = 1; a[X] = 2; }
K reads_module_variable ARGS { a[X] = kept[threadIdx.x % 64]; }
K wraps ARGS { unsigned i = X * 0x08000001u; a[i & 1023] = 1; }
K wraps_wide ARGS { int i = (int)(X * 0x10000000u); a[i / 0x1000000 + 256] = 1; }
K short_index ARGS { unsigned char i = (unsigned char)(X * 16); a[i] = 1; }
K shared_memory ARGS
{
    __shared__ float s[512];
    int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    s[t] = b[t]; __syncthreads();
    a[X] = s[t ^ 1];
}
K index_through_shared ARGS
{
    __shared__ int s[512];
    s[threadIdx.x] = X; __syncthreads();
    a[s[threadIdx.x]] = 1;
}
K shuffled ARGS { a[__shfl_xor_sync(~0u, (int)X, 1)] = 1; }
K nested_loops ARGS { for (int y = 0; y < 4; y++) for (int x = 0; x < 4; x++) a[(X * 4 + y) * 4 + x] = 1; }
K loop_inside_grid_stride ARGS { for (int i = X; i < n / 4; i += gridDim.x * blockDim.x) for (int k = 0; k < 4; k++) a[4 * i + k] = k; }
K heavy_arithmetic ARGS { float v = X; for (int k = 0; k < n; k++) v = v * 0.5f + 1; if (X < m) a[X] = v; }
K continue_and_break ARGS { for (int k = 0; k < 8; k++) { if (k == m) continue; if (k * k > n) break; a[X * 8 + k] = k; } }
K inner_continues_outer ARGS { int j = X * 8; for (int y = 0; y < 2; y++) { for (int x = 0; x < 4; x++) { if (x == m) break; a[j + x] = 1; } j += 4; } }
