// Functions of p2pmath.h for double, applied to arrays: y[i] = f(x[i]).
#define DOUBLE(name) \
  extern "C" __global__ void d_##name(const double *x, double *y) { \
    int i = blockIdx.x * blockDim.x + threadIdx.x; \
    y[i] = name(x[i]); \
  }
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
extern "C" __global__ void d_pow(const double *x, const double *y, double *z) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  z[i] = pow(x[i], y[i]);
}
