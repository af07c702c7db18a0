// Best local alignment of `a` with one of many strings per work-group, by anti-diagonals.
__kernel void smith_waterman(__global const char *a, __global const char *b, int la, int lb, __global int *best) {
    __local int d[3][257];
    int t = get_local_id(0);
    for (int k = 0; k < 3; k++) d[k][t] = 0;
    if (t == 0) for (int k = 0; k < 3; k++) d[k][256] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    int most = 0;
    __global const char *bb = b + get_group_id(0) * lb;
    for (int g = 0; g < la + lb - 1; g++) {
        int c = g % 3, p = (g + 2) % 3, q = (g + 1) % 3, i = t, j = g - t, v = 0;
        if (i < la && j >= 0 && j < lb) {
            int diagonal = t > 0 && j > 0 ? d[q][t - 1] : 0, up = t > 0 ? d[p][t - 1] : 0, left = j > 0 ? d[p][t] : 0;
            v = max(0, max(diagonal + (a[i] == bb[j] ? 2 : -1), max(up, left) - 1));
            most = max(most, v);
        }
        d[c][t] = v;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    atomic_max(best + get_group_id(0), most);
}
