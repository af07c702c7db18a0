// Grid-stride sum; one partial sum per work-group, through local memory: OpenCL promises no shuffles.
__kernel void reduce(__global const float *restrict x, __global float *restrict out, int n) {
    __local float s[256];
    int t = get_local_id(0);
    float v = 0;
    for (int i = get_global_id(0); i < n; i += get_global_size(0)) v += x[i];
    s[t] = v;
    for (int o = 128; o; o >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (t < o) s[t] += s[t + o];
    }
    if (t == 0) out[get_group_id(0)] = s[0];
}
