// A histogram per work-group in local memory, added to the global one at the end.
__kernel void histogram(__global const uchar *x, __global uint *h, int n) {
    __local uint s[256];
    for (int i = get_local_id(0); i < 256; i += get_local_size(0)) s[i] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = get_global_id(0); i < n; i += get_global_size(0)) atomic_inc(&s[x[i]]);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = get_local_id(0); i < 256; i += get_local_size(0)) atomic_add(&h[i], s[i]);
}
