// Inclusive prefix sums within work-groups of 256, through local memory: OpenCL promises no shuffles.
__kernel void scan(__global const int *x, __global int *y, int n) {
    __local int s[2][256];
    int t = get_local_id(0), i = get_global_id(0), now = 0;
    s[0][t] = i < n ? x[i] : 0;
    for (int o = 1; o < 256; o <<= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        s[1 - now][t] = s[now][t] + (t >= o ? s[now][t - o] : 0);
        now = 1 - now;
    }
    if (i < n) y[i] = s[now][t];
}
