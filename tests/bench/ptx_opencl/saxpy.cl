__kernel void saxpy(float a, __global const float *restrict x, __global float *restrict y, int n) {
    int i = get_global_id(0);
    if (i < n) y[i] = a * x[i] + y[i];
}
