// Functions of p2pmath.h for float, applied to arrays: y[i] = f(x[i]).
#define FLOAT(name) \
  extern "C" __global__ void f_##name(const float *x, float *y) { \
    int i = blockIdx.x * blockDim.x + threadIdx.x; \
    y[i] = name(x[i]); \
  }
FLOAT(expf)
FLOAT(exp2f)
FLOAT(exp10f)
FLOAT(logf)
FLOAT(rsqrtf)
FLOAT(tanhf)
FLOAT(tanf)
FLOAT(erff)
FLOAT(erfcf)
FLOAT(cbrtf)
extern "C" __global__ void f_powf(const float *x, const float *y, float *z) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  z[i] = powf(x[i], y[i]);
}
