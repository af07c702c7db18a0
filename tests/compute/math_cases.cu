// Every function of p2pmath.h, applied to arrays: y[i] = f(x[i]).
#define FLOAT(name) \
  extern "C" __global__ void f_##name(const float *x, float *y) { \
    int i = blockIdx.x * blockDim.x + threadIdx.x; \
    y[i] = name(x[i]); \
  }
#define DOUBLE(name) \
  extern "C" __global__ void d_##name(const double *x, double *y) { \
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
DOUBLE(log)
DOUBLE(log2)
DOUBLE(log10)
DOUBLE(log1p)
DOUBLE(rsqrt)
DOUBLE(atan)
DOUBLE(asin)
DOUBLE(acos)
DOUBLE(sin)
DOUBLE(cos)
DOUBLE(tan)
DOUBLE(cosh)
DOUBLE(tanh)
DOUBLE(asinh)
DOUBLE(acosh)
DOUBLE(atanh)
DOUBLE(cbrt)
DOUBLE(erf)
DOUBLE(erfc)
extern "C" __global__ void f_powf(const float *x, const float *y, float *z) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  z[i] = powf(x[i], y[i]);
}
extern "C" __global__ void d_pow(const double *x, const double *y, double *z) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  z[i] = pow(x[i], y[i]);
}
