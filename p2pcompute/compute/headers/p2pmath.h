// Deterministic math, included before every kernel.
//
// CUDA's own versions of the functions below use the GPU's approximate instructions (ex2.approx, rcp.approx, ...), whose
// last bits differ between GPU generations and exist on no CPU. These use only IEEE add, mul, fma, div, sqrt,
// conversions and integers, so that every engine returns the same bits. Worst errors are in docs/spec/math.md.
//
// Functions that CUDA already builds from exact instructions (logf, sinf, cosf, exp, expm1, fmod, ...) stay CUDA's.
// Polynomials are Chebyshev interpolants near the minimax one, computed with mpmath.chebyfit at 200 bits.
#ifndef P2PMATH_H
#define P2PMATH_H
#define P2P_FN static __device__ __forceinline__

// float -------------------------------------------------------------------------------------------------------------

// p * 2^k for p near 1 and k in [-151, 129], rounded once even when the result is denormal.
P2P_FN float p2p_scale(float p, int k) {
  int k1 = k >> 1, k2 = k - k1;
  return p * __int_as_float((k1 + 127) << 23) * __int_as_float((k2 + 127) << 23);
}

P2P_FN float p2p_expf(float x) {
  float a = fminf(fmaxf(x, -104.0f), 89.0f);
  float t = fmaf(a, 1.44269504f, 12582912.0f);  // 1.5 * 2^23: rounds to an integer in the low bits
  float n = t - 12582912.0f;
  float r = fmaf(n, -1.428606765330187e-06f, fmaf(n, -0.693145751953125f, a));  // ln 2 in two parts
  float p = 1.9891556983324548e-4f;
  p = fmaf(p, r, 1.3934159818898314e-3f);
  p = fmaf(p, r, 8.3333104125014159e-3f);
  p = fmaf(p, r, 4.1666460306029153e-2f);
  p = fmaf(p, r, 1.6666666682139629e-1f);
  p = fmaf(p, r, 5.0000000139307939e-1f);
  p = fmaf(p, r * r, r) + 1.0f;
  return x != x ? x : p2p_scale(p, __float_as_int(t) - 0x4B400000);
}

P2P_FN float p2p_exp2f(float x) {
  float a = fminf(fmaxf(x, -151.0f), 129.0f);
  float n = rintf(a);
  float f = a - n;
  float p = 1.5297323760701074e-5f;
  p = fmaf(p, f, 1.5461444697569129e-4f);
  p = fmaf(p, f, 1.3333502386162771e-3f);
  p = fmaf(p, f, 9.6180566785246381e-3f);
  p = fmaf(p, f, 5.5504108839096184e-2f);
  p = fmaf(p, f, 2.4022650922288758e-1f);
  p = fmaf(p, f, 6.9314718055994531e-1f);
  return x != x ? x : p2p_scale(fmaf(p, f, 1.0f), (int)n);
}

P2P_FN float p2p_rsqrtf(float x) { return 1.0f / sqrtf(x); }

P2P_FN float p2p_tanhf(float x) {
  float a = fabsf(x), s = x * x;
  float p = -6.5425419847878307e-3f;
  p = fmaf(p, s, 2.1272748257222123e-2f);
  p = fmaf(p, s, -5.3903347685335088e-2f);
  p = fmaf(p, s, 1.3333082253042367e-1f);
  p = fmaf(p, s, -3.3333331762550592e-1f);
  float small = fmaf(p * s, x, x);
  float large = copysignf(1.0f - 2.0f / (p2p_expf(2.0f * a) + 1.0f), x);
  return a < 0.55f ? small : x != x ? x : large;
}

P2P_FN float p2p_erff(float x) {
  float a = fabsf(x), s = x * x;
  float p = 8.3168797177453805e-5f;
  p = fmaf(p, s, -8.1304446702370902e-4f);
  p = fmaf(p, s, 5.1999892545586910e-3f);
  p = fmaf(p, s, -2.6858997423761087e-2f);
  p = fmaf(p, s, 1.1283688724605819e-1f);
  p = fmaf(p, s, -3.7612633334349228e-1f);
  p = fmaf(p, s, 1.2837916660163605e-1f);  // 2 / sqrt(pi) - 1
  float small = fmaf(p, x, x);
  float t = fminf(a, 4.0f);  // erf(4) rounds to 1
  float g = -1.0460656819238447e-6f;  // t * g = -log(erfc(t))
  g = fmaf(g, t, 3.4388508771776640e-5f);
  g = fmaf(g, t, -4.9882500815072360e-4f);
  g = fmaf(g, t, 4.3037893075787273e-3f);
  g = fmaf(g, t, -2.5139550312712382e-2f);
  g = fmaf(g, t, 1.0785565292973023e-1f);
  g = fmaf(g, t, 6.3414818382414375e-1f);
  g = fmaf(g, t, 1.1289027981360038f);
  float large = copysignf(1.0f - p2p_expf(-t * g), x);
  return a < 0.92f ? small : x != x ? x : large;
}

// double ------------------------------------------------------------------------------------------------------------

// x = m * 2^k with m in [sqrt(1/2), sqrt(2)), for finite x > 0.
P2P_FN double p2p_split(double x, int *k) {
  int shift = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984.0;  // 2^54: denormals become normal
    shift = 54;
  }
  long long bits = __double_as_longlong(x);
  int e = (int)(bits >> 52) - 1023;
  double m = __longlong_as_double((bits & 0x000fffffffffffffLL) | 0x3ff0000000000000LL);
  if (m >= 1.4142135623730951) {
    m *= 0.5;
    e += 1;
  }
  *k = e - shift;
  return m;
}

// log(1 + f) = f - (h - *rest), with h = f * f / 2: the form of Tang's and fdlibm's logarithm, s = f / (2 + f).
P2P_FN double p2p_log_rest(double f) {
  double s = f / (2.0 + f), z = s * s;
  double p = 0.14617037548791650;
  p = fma(p, z, 0.15331674030167862);
  p = fma(p, z, 0.18182890556695604);
  p = fma(p, z, 0.22222211115144162);
  p = fma(p, z, 0.28571428626095892);
  p = fma(p, z, 0.39999999999899239);
  p = fma(p, z, 0.66666666666666697);
  return s * (0.5 * f * f + z * p);
}

// What the logarithms of zero, negatives, infinity and NaN have in common; true when `*y` holds the answer.
P2P_FN bool p2p_log_special(double x, double *y) {
  if (x > 0.0 && x < __longlong_as_double(0x7ff0000000000000LL)) return false;
  *y = x == 0.0 ? __longlong_as_double(0xfff0000000000000LL)
       : x > 0.0 || x != x ? x
                           : __longlong_as_double(0x7ff8000000000000LL);
  return true;
}

P2P_FN double p2p_log(double x) {
  double y;
  if (p2p_log_special(x, &y)) return y;
  int k;
  double f = p2p_split(x, &k) - 1.0, h = 0.5 * f * f, n = (double)k;
  return n * 6.93147180369123816490e-01 - ((h - (p2p_log_rest(f) + n * 1.90821492927058770002e-10)) - f);
}

P2P_FN double p2p_log2(double x) {
  double y;
  if (p2p_log_special(x, &y)) return y;
  int k;
  double f = p2p_split(x, &k) - 1.0, h = 0.5 * f * f;
  double l = f - (h - p2p_log_rest(f));
  return fma(l, 1.4426950408889634, (double)k + l * 2.0355273740931033e-17);
}

P2P_FN double p2p_log10(double x) {
  double y;
  if (p2p_log_special(x, &y)) return y;
  int k;
  double f = p2p_split(x, &k) - 1.0, h = 0.5 * f * f, n = (double)k;
  double l = f - (h - p2p_log_rest(f));
  return fma(n, 3.01029995663611771306e-01, fma(n, 3.69423907715893078616e-13, l * 0.43429448190325182));
}

// log(1 + x) = log(u) * x / (u - 1) with u = 1 + x rounded (Kahan).
P2P_FN double p2p_log1p(double x) {
  double u = 1.0 + x;
  if (u == 1.0 || !(fabs(u) < __longlong_as_double(0x7ff0000000000000LL))) return u == 1.0 ? x : u;
  return p2p_log(u) * (x / (u - 1.0));
}

// Sine and cosine of double. CUDA's are exact too, but call a function for large arguments, and calls cost every engine.

// The bits of 2 / pi, after 64 zero bits.
static __device__ const unsigned long long p2p_two_over_pi[21] = {
    0x0000000000000000ULL, 0xa2f9836e4e441529ULL, 0xfc2757d1f534ddc0ULL, 0xdb6295993c439041ULL,
    0xfe5163abdebbc561ULL, 0xb7246e3a424dd2e0ULL, 0x06492eea09d1921cULL, 0xfe1deb1cb129a73eULL,
    0xe88235f52ebb4484ULL, 0xe99c7026b45f7e41ULL, 0x3991d639835339f4ULL, 0x9c845f8bbdf9283bULL,
    0x1ff897ffde05980fULL, 0xef2f118b5a0a6d1fULL, 0x6d367ecf27cb09b7ULL, 0x4f463f669e5fea2dULL,
    0x7527bac7ebe5f17bULL, 0x3d0739f78a5292eaULL, 0x6bfb5fb11f8d5d08ULL, 0x56033046fc7b6babULL,
    0xf0cfbc209af4361dULL,
};

// x = (quadrant + 4 k) pi/2 + r + *tail with |r| <= pi/4, for finite |x| >= 2^30: Payne and Hanek, "Radian reduction for
// trigonometric functions", SIGNUM Newsletter 18 (1983). Of x * 2/pi only the 192 bits that matter modulo 4 are formed.
P2P_FN double p2p_reduce_large(double x, int *quadrant, double *tail) {
  long long bits = __double_as_longlong(x) & 0x7fffffffffffffffLL;
  unsigned long long m = (bits & 0x000fffffffffffffLL) | 0x0010000000000000LL;
  int start = (int)(bits >> 52) - 1075 - 2 + 64, word = start >> 6, shift = start & 63;
  const unsigned long long *t = p2p_two_over_pi + word;
  unsigned long long w0 = t[0], w1 = t[1], w2 = t[2];
  if (shift) {
    w0 = w0 << shift | w1 >> (64 - shift);
    w1 = w1 << shift | w2 >> (64 - shift);
    w2 = w2 << shift | t[3] >> (64 - shift);
  }
  unsigned long long lo = m * w2, mid = __umul64hi(m, w2), mid2 = m * w1;
  unsigned long long hi = m * w0 + __umul64hi(m, w1);
  mid += mid2;
  hi += mid < mid2;
  int q = (int)(hi >> 62);
  unsigned long long f = hi << 2 | mid >> 62, g = mid << 2 | lo >> 62;
  double sign = x < 0.0 ? -1.0 : 1.0;
  if (f >> 63) {  // more than half a quadrant: count from the next one
    q += 1;
    g = ~g + 1;
    f = ~f + (g == 0);
    sign = -sign;
  }
  int zeros = f ? __clzll(f) : 63;
  if (zeros) {
    f = f << zeros | g >> (64 - zeros);
    g <<= zeros;
  }
  double a = (double)(long long)(f >> 11) * 1.1102230246251565e-16;                             // 2^-53
  double b = (double)(long long)((f & 0x7ff) << 52 | g >> 12) * 1.2037062152420224e-35;          // 2^-116
  double scale = sign * __longlong_as_double((long long)(1023 - zeros) << 52);
  double r = a * 1.5707963267948966;
  *tail = scale * (fma(a, 1.5707963267948966, -r) + (a * 6.123233995736766e-17 + b * 1.5707963267948966));
  *quadrant = x < 0.0 ? -q : q;
  return scale * r;
}

// The same for any x: pi/2 in three parts (Cody and Waite) is enough below 2^30.
P2P_FN double p2p_reduce(double x, int *quadrant, double *tail) {
  if (fabs(x) >= 1073741824.0) {
    if (fabs(x) < __longlong_as_double(0x7ff0000000000000LL)) return p2p_reduce_large(x, quadrant, tail);
    *quadrant = 0;
    *tail = 0.0;
    return x - x;  // NaN
  }
  double n = rint(x * 0.63661977236758134);
  double r1 = fma(-n, 1.5707963267948966, x);  // exact
  double t = n * 6.123233995736766e-17, tl = fma(n, 6.123233995736766e-17, -t);
  double r = r1 - t, back = r + t;
  *tail = ((r1 - back) + ((back - r) - t)) - tl - n * -1.4973849048591698e-33;
  *quadrant = (int)n;
  return r;
}

P2P_FN double p2p_sin_kernel(double r, double tail) {
  double z = r * r, p = 1.59181152632659752e-10;
  p = fma(p, z, -2.50511316502351815e-8);
  p = fma(p, z, 2.75573161017178744e-6);
  p = fma(p, z, -0.000198412698367567725);
  p = fma(p, z, 0.00833333333333094729);
  p = fma(p, z, -0.166666666666666646);
  return r + fma(p * z, r, tail * fma(-0.5, z, 1.0));
}
P2P_FN double p2p_cos_kernel(double r, double tail) {
  double z = r * r, p = -1.13826236474746046e-11;
  p = fma(p, z, 2.08761461465586116e-9);
  p = fma(p, z, -2.7557317271145146e-7);
  p = fma(p, z, 0.0000248015872987645608);
  p = fma(p, z, -0.00138888888888873965);
  p = fma(p, z, 0.0416666666666666654);
  double h = 0.5 * z, w = 1.0 - h;
  return w + (((1.0 - w) - h) + fma(p * z, z, -r * tail));
}
P2P_FN void p2p_sincos(double x, double *s, double *c) {
  int q;
  double tail, r = p2p_reduce(x, &q, &tail);
  double a = p2p_sin_kernel(r, tail), b = p2p_cos_kernel(r, tail);
  double u = q & 1 ? b : a, v = q & 1 ? a : b;
  *s = q & 2 ? -u : x == 0.0 ? x : u;
  *c = (q + 1) & 2 ? -v : v;
}
P2P_FN double p2p_sin(double x) {
  double s, c;
  p2p_sincos(x, &s, &c);
  return s;
}
P2P_FN double p2p_cos(double x) {
  double s, c;
  p2p_sincos(x, &s, &c);
  return c;
}

P2P_FN double p2p_rsqrt(double x) { return 1.0 / sqrt(x); }
P2P_FN double p2p_atan(double x) { return atan2(x, 1.0); }
P2P_FN double p2p_asin(double x) { return atan2(x, sqrt((1.0 - x) * (1.0 + x))); }
P2P_FN double p2p_acos(double x) { return atan2(sqrt((1.0 - x) * (1.0 + x)), x); }
P2P_FN double p2p_tan(double x) {
  double s, c;
  p2p_sincos(x, &s, &c);
  return s / c;
}
P2P_FN double p2p_cosh(double x) {
  double h = exp(0.5 * fabs(x));  // half the argument: no overflow before the result does
  return fma(0.5 * h, h, 0.5 / h / h);
}
P2P_FN double p2p_tanh(double x) {
  double e = expm1(2.0 * fmin(fabs(x), 22.0));  // tanh(22) rounds to 1
  return x != x ? x : copysign(e / (e + 2.0), x);
}
P2P_FN double p2p_asinh(double x) {
  double a = fabs(x);
  double y = a > 1e150 ? p2p_log(a) + 0.6931471805599453 : p2p_log1p(a + a * a / (1.0 + sqrt(fma(a, a, 1.0))));
  return copysign(y, x);
}
P2P_FN double p2p_acosh(double x) {
  double t = x - 1.0;
  return x > 1e150 ? p2p_log(x) + 0.6931471805599453 : p2p_log1p(t + sqrt(fma(t, t, 2.0 * t)));
}
P2P_FN double p2p_atanh(double x) {
  double a = fabs(x);
  return copysign(0.5 * p2p_log1p(2.0 * a / (1.0 - a)), x);
}
P2P_FN double p2p_cbrt(double x) {
  double a = fabs(x);
  if (!(a > 0.0 && a < __longlong_as_double(0x7ff0000000000000LL))) return x;
  double t = exp2(p2p_log2(a) * 0.3333333333333333);
  t = t - (t - a / (t * t)) * 0.3333333333333333;  // one step of Newton
  return copysign(t, x);
}
P2P_FN double p2p_hypot(double x, double y) {
  double a = fmax(fabs(x), fabs(y)), b = fmin(fabs(x), fabs(y)), infinity = __longlong_as_double(0x7ff0000000000000LL);
  if (a == infinity || a == 0.0) return a;
  double r = b / a;
  return x != x || y != y ? x + y : a * sqrt(fma(r, r, 1.0));
}

// erfc(x) = exp(-x^2) F(q) / (1 + 2 x) for x in [0.45, 28], q = (x - 4) / (x + 4): Shepherd and Laframboise, "Chebyshev
// approximation of (1 + 2x) exp(x^2) erfc(x)", Mathematics of Computation 36 (1981).
P2P_FN double p2p_erfc_scaled(double x) {
  double q = (x - 4.0) / (x + 4.0);
  double p = 1.53672517323026849e-9;
  p = fma(p, q, 2.38787923349505407e-9);
  p = fma(p, q, -1.47664909861123726e-8);
  p = fma(p, q, -1.96720257956668563e-8);
  p = fma(p, q, 1.10666280925696802e-7);
  p = fma(p, q, 7.70623156669405863e-8);
  p = fma(p, q, -8.25635489199084733e-7);
  p = fma(p, q, 2.91908002766177467e-7);
  p = fma(p, q, 5.70968007343806758e-6);
  p = fma(p, q, -0.0000112211095921905296);
  p = fma(p, q, -0.0000243991384818681587);
  p = fma(p, q, 0.000150621392260089241);
  p = fma(p, q, -0.000199256724675221585);
  p = fma(p, q, -0.000757773232877542387);
  p = fma(p, q, 0.00503196998405464415);
  p = fma(p, q, -0.0161977340646139838);
  p = fma(p, q, 0.0371675155368198179);
  p = fma(p, q, -0.0663303658117285339);
  p = fma(p, q, 0.0937328349983867857);
  p = fma(p, q, -0.101039066036322518);
  p = fma(p, q, 0.0680970542546917736);
  p = fma(p, q, 0.0153796521026200093);
  p = fma(p, q, -0.139621116840562507);
  p = fma(p, q, 1.23299511862555251);
  return p / (1.0 + 2.0 * x);
}
P2P_FN double p2p_erfc_tail(double x) {
  double h = x * x, l = fma(x, x, -h);
  double y = exp(-h);
  return p2p_erfc_scaled(x) * fma(-l, y, y);
}
P2P_FN double p2p_erf_head(double x) {
  double s = x * x, p = 5.957176147748911404e-11;
  p = fma(p, s, -1.137284885679167367e-9);
  p = fma(p, s, 1.465977527404743581e-8);
  p = fma(p, s, -1.635031270105469501e-7);
  p = fma(p, s, 1.646100048412136803e-6);
  p = fma(p, s, -0.00001492559526683118157);
  p = fma(p, s, 0.0001205533111164271092);
  p = fma(p, s, -0.0008548326980833789905);
  p = fma(p, s, 0.005223977624818014467);
  p = fma(p, s, -0.02686617064507679325);
  p = fma(p, s, 0.1128379167095487867);
  p = fma(p, s, -0.3761263890318374806);
  return fma(fma(p, s, 0.1283791670955125739), x, x);
}
P2P_FN double p2p_erf(double x) {
  double a = fabs(x);
  if (a < 1.0 || x != x) return p2p_erf_head(x);
  return copysign(1.0 - p2p_erfc_tail(fmin(a, 7.0)), x);  // erf(7) rounds to 1
}
P2P_FN double p2p_erfc(double x) {
  if (x < 0.5 || x != x) return x < -1.0 ? 2.0 - p2p_erfc_tail(fmin(-x, 7.0)) : 1.0 - p2p_erf_head(x);
  return p2p_erfc_tail(fmin(x, 28.0));  // erfc(28) is below the smallest double
}
P2P_FN double p2p_normcdf(double x) {
  double a = fmin(fmax(x, -39.0), 39.0);  // beyond, it is 0 or 1
  double u = a * -0.70710678118654757, l = fma(a, -0.70710678118654757, -u) + a * 4.8336466567264567e-17;
  double y = 0.5 * fma(exp(-u * u) * -1.1283791670955126, l, p2p_erfc(u));  // the slope of erfc carries the lost bits
  return x != x ? x : y;
}
P2P_FN double p2p_rcbrt(double x) { return 1.0 / p2p_cbrt(x); }

// Whether the real y is an odd integer.
P2P_FN bool p2p_is_odd(double y) {
  double h = 0.5 * y;
  return floor(y) == y && floor(h) != h;
}

// The cases of C's pow (ISO C, F.10.4.4) with zeros, ones, infinities, NaN and negative bases; true when `*z` holds
// the answer, else |x|^y remains to be computed and `*sign` to be applied.
P2P_FN bool p2p_pow_special(double x, double y, double *z, double *sign) {
  double a = fabs(x), b = fabs(y), infinity = __longlong_as_double(0x7ff0000000000000LL);
  *sign = x < 0.0 && p2p_is_odd(y) ? -1.0 : 1.0;
  if (y == 0.0 || x == 1.0) *z = 1.0;
  else if (x != x || y != y) *z = x + y;
  else if (b == infinity) *z = a == 1.0 ? 1.0 : (a > 1.0) == (y > 0.0) ? infinity : 0.0;
  else if (a == 0.0 || a == infinity) {
    double magnitude = (a == 0.0) == (y > 0.0) ? 0.0 : infinity;
    *z = p2p_is_odd(y) ? copysign(magnitude, x) : magnitude;
  } else if (x < 0.0 && floor(y) != y) *z = __longlong_as_double(0x7ff8000000000000LL);
  else return false;
  return true;
}

// exp(x + tail) to half an ulp and a bit, for |tail| much below |x|: pow needs it, so that pow(3, 2) is 9.
P2P_FN double p2p_exp_sum(double x, double tail) {
  double a = fmin(fmax(x, -1100.0), 1100.0);
  double n = rint(a * 1.4426950408889634);
  double r1 = fma(n, -6.93147180369123816490e-01, a), low = n * 1.90821492927058770002e-10;
  double r = r1 - low, t = ((r1 - r) - low) + (a == x ? tail : 0.0);
  double p = 2.0911429114372475e-9;
  p = fma(p, r, 2.51006550360665901e-8);
  p = fma(p, r, 2.75572825637495314e-7);
  p = fma(p, r, 2.75572678917455304e-6);
  p = fma(p, r, 0.0000248015873174063919);
  p = fma(p, r, 0.000198412698634203503);
  p = fma(p, r, 0.00138888888888864999);
  p = fma(p, r, 0.0083333333333299882);
  p = fma(p, r, 0.0416666666666666672);
  p = fma(p, r, 0.166666666666666675);
  p = fma(p, r, 0.5);
  double w = 1.0 + r, wl = r - (w - 1.0), q = p * (r * r);
  double y = w + (wl + fma(t, w + q, q));
  int k = (int)n, k1 = k >> 1, k2 = k - k1;
  y *= __longlong_as_double((long long)(k1 + 1023) << 52);
  return y * __longlong_as_double((long long)(k2 + 1023) << 52);
}

// |x|^y = exp(y log|x|) with the logarithm in two doubles: s = f / (2 + f) and its cube to 106 bits, the rest to 53.
P2P_FN double p2p_pow(double x, double y) {
  double z, sign;
  if (p2p_pow_special(x, y, &z, &sign)) return z;
  int k;
  double f = p2p_split(fabs(x), &k) - 1.0, n = (double)k;
  double d = 2.0 + f, dl = f - (d - 2.0);
  double s = f / d, sl = (fma(-s, d, f) - s * dl) / d;
  double q = s * s, ql = fma(s, s, -q) + 2.0 * s * sl;
  double c = q * s, cl = fma(q, s, -c) + (q * sl + ql * s);
  double p = 0.107628674236432111;  // to 2^-66: y multiplies the error by up to 700
  p = fma(p, q, 0.104562783757782071);
  p = fma(p, q, 0.117668153034060815);
  p = fma(p, q, 0.13333296483973291);
  p = fma(p, q, 0.153846157618126102);
  p = fma(p, q, 0.181818181796525147);
  p = fma(p, q, 0.222222222222284446);
  p = fma(p, q, 0.285714285714285646);
  p = fma(p, q, 0.4);
  p = fma(p, q, 3.7007434e-17);  // what the double nearest 2/3 lacks
  double t = c * 0.66666666666666663, tl = fma(c, 0.66666666666666663, -t) + (cl * 0.66666666666666663 + c * p);
  // log = n ln2 + 2 s + t, biggest first
  double a = n * 6.93147180369123816490e-01, b = 2.0 * s;
  double u = a + b, ul = fabs(a) > fabs(b) ? b - (u - a) : a - (u - b);
  double v = u + t, vl = fabs(u) > fabs(t) ? t - (v - u) : u - (v - t);
  double low = vl + (ul + (2.0 * sl + tl + n * 1.90821492927058770002e-10));
  double h = v + low, l = low - (h - v);
  double e = y * h, el = fma(y, h, -e) + y * l;
  return sign * p2p_exp_sum(e, el);
}

// float through double: one rounding to float hides the error of the double -----------------------------------------

P2P_FN float p2p_powf(float x, float y) {
  double z, sign;
  if (p2p_pow_special(x, y, &z, &sign)) return (float)z;
  return (float)(sign * exp2((double)y * p2p_log2(fabs((double)x))));
}
P2P_FN float p2p_exp10f(float x) { return (float)exp10((double)x); }
P2P_FN float p2p_expm1f(float x) { return (float)expm1((double)x); }
P2P_FN float p2p_sinhf(float x) { return (float)sinh((double)x); }
P2P_FN float p2p_coshf(float x) { return (float)p2p_cosh((double)x); }
P2P_FN float p2p_tanf(float x) { return (float)p2p_tan((double)x); }
P2P_FN float p2p_asinf(float x) { return (float)p2p_asin((double)x); }
P2P_FN float p2p_acosf(float x) { return (float)p2p_acos((double)x); }
P2P_FN float p2p_atanf(float x) { return (float)atan2((double)x, 1.0); }
P2P_FN float p2p_asinhf(float x) { return (float)p2p_asinh((double)x); }
P2P_FN float p2p_acoshf(float x) { return (float)p2p_acosh((double)x); }
P2P_FN float p2p_atanhf(float x) { return (float)p2p_atanh((double)x); }
P2P_FN float p2p_cbrtf(float x) { return (float)p2p_cbrt((double)x); }
P2P_FN float p2p_rcbrtf(float x) { return (float)p2p_rcbrt((double)x); }
P2P_FN float p2p_erfcf(float x) { return (float)p2p_erfc((double)x); }
P2P_FN float p2p_normcdff(float x) { return (float)p2p_normcdf((double)x); }
P2P_FN float p2p_fmodf(float x, float y) { return (float)fmod((double)x, (double)y); }
P2P_FN float p2p_remainderf(float x, float y) { return (float)remainder((double)x, (double)y); }
P2P_FN float p2p_frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
P2P_FN void p2p_sincosf(float x, float *s, float *c) { sincosf(x, s, c); }

#include "p2pspecial.h"

// C++ overloads: float stays float, integers become double ----------------------------------------------------------

#define P2P_OVERLOADS(name, of_float, of_double)          \
  P2P_FN float p2pm_##name(float x) { return of_float(x); } \
  P2P_FN double p2pm_##name(double x) { return of_double(x); } \
  template <class T> P2P_FN double p2pm_##name(T x) { return of_double((double)x); }
#define P2P_OVERLOADS2(name, of_float, of_double)                             \
  P2P_FN float p2pm_##name(float x, float y) { return of_float(x, y); }       \
  P2P_FN double p2pm_##name(double x, double y) { return of_double(x, y); }   \
  template <class T, class U> P2P_FN double p2pm_##name(T x, U y) { return of_double((double)x, (double)y); }

P2P_OVERLOADS(exp, p2p_expf, exp)
P2P_OVERLOADS(exp2, p2p_exp2f, exp2)
P2P_OVERLOADS(exp10, p2p_exp10f, exp10)
P2P_OVERLOADS(expm1, p2p_expm1f, expm1)
P2P_OVERLOADS(log, logf, p2p_log)
P2P_OVERLOADS(log2, log2f, p2p_log2)
P2P_OVERLOADS(log10, log10f, p2p_log10)
P2P_OVERLOADS(log1p, log1pf, p2p_log1p)
P2P_OVERLOADS(sinh, p2p_sinhf, sinh)
P2P_OVERLOADS(cosh, p2p_coshf, p2p_cosh)
P2P_OVERLOADS(tanh, p2p_tanhf, p2p_tanh)
P2P_FN void p2pm_sincos(float x, float *s, float *c) { sincosf(x, s, c); }
P2P_FN void p2pm_sincos(double x, double *s, double *c) { p2p_sincos(x, s, c); }
P2P_OVERLOADS(sin, sinf, p2p_sin)
P2P_OVERLOADS(cos, cosf, p2p_cos)
P2P_OVERLOADS(tan, p2p_tanf, p2p_tan)
P2P_OVERLOADS(asin, p2p_asinf, p2p_asin)
P2P_OVERLOADS(acos, p2p_acosf, p2p_acos)
P2P_OVERLOADS(atan, p2p_atanf, p2p_atan)
P2P_OVERLOADS(asinh, p2p_asinhf, p2p_asinh)
P2P_OVERLOADS(acosh, p2p_acoshf, p2p_acosh)
P2P_OVERLOADS(atanh, p2p_atanhf, p2p_atanh)
P2P_OVERLOADS(cbrt, p2p_cbrtf, p2p_cbrt)
P2P_OVERLOADS(rcbrt, p2p_rcbrtf, p2p_rcbrt)
P2P_OVERLOADS(erf, p2p_erff, p2p_erf)
P2P_OVERLOADS(erfc, p2p_erfcf, p2p_erfc)
P2P_OVERLOADS(normcdf, p2p_normcdff, p2p_normcdf)
P2P_OVERLOADS(rsqrt, p2p_rsqrtf, p2p_rsqrt)
P2P_OVERLOADS2(pow, p2p_powf, p2p_pow)
P2P_OVERLOADS2(hypot, hypotf, p2p_hypot)
P2P_OVERLOADS2(fmod, p2p_fmodf, fmod)
P2P_OVERLOADS2(remainder, p2p_remainderf, remainder)
P2P_OVERLOADS(erfcx, p2p_erfcxf, p2p_erfcx)
P2P_OVERLOADS(erfinv, p2p_erfinvf, p2p_erfinv)
P2P_OVERLOADS(erfcinv, p2p_erfcinvf, p2p_erfcinv)
P2P_OVERLOADS(normcdfinv, p2p_normcdfinvf, p2p_normcdfinv)
P2P_OVERLOADS(tgamma, p2p_tgammaf, p2p_tgamma)
P2P_OVERLOADS(lgamma, p2p_lgammaf, p2p_lgamma)
P2P_OVERLOADS(j0, p2p_j0f, p2p_j0)
P2P_OVERLOADS(j1, p2p_j1f, p2p_j1)
P2P_OVERLOADS(y0, p2p_y0f, p2p_y0)
P2P_OVERLOADS(y1, p2p_y1f, p2p_y1)
P2P_OVERLOADS(cyl_bessel_i0, p2p_i0f, p2p_i0)
P2P_OVERLOADS(cyl_bessel_i1, p2p_i1f, p2p_i1)
P2P_OVERLOADS2(rhypot, p2p_rhypotf, p2p_rhypot)

// Names without arguments in the macro: `::expf`, `std::exp`, function pointers and variables of these names all work.
#define exp p2pm_exp
#define exp2 p2pm_exp2
#define exp10 p2pm_exp10
#define expm1 p2pm_expm1
#define log p2pm_log
#define log2 p2pm_log2
#define log10 p2pm_log10
#define log1p p2pm_log1p
#define sinh p2pm_sinh
#define cosh p2pm_cosh
#define tanh p2pm_tanh
#define sin p2pm_sin
#define cos p2pm_cos
#define sincos p2pm_sincos
#define tan p2pm_tan
#define asin p2pm_asin
#define acos p2pm_acos
#define atan p2pm_atan
#define asinh p2pm_asinh
#define acosh p2pm_acosh
#define atanh p2pm_atanh
#define cbrt p2pm_cbrt
#define rsqrt p2pm_rsqrt
#define rcbrt p2pm_rcbrt
#define erf p2pm_erf
#define erfc p2pm_erfc
#define normcdf p2pm_normcdf
#define pow p2pm_pow
#define hypot p2pm_hypot
#define fmod p2pm_fmod
#define remainder p2pm_remainder
#define expf p2p_expf
#define exp2f p2p_exp2f
#define exp10f p2p_exp10f
#define expm1f p2p_expm1f
#define rsqrtf p2p_rsqrtf
#define tanhf p2p_tanhf
#define sinhf p2p_sinhf
#define coshf p2p_coshf
#define tanf p2p_tanf
#define asinf p2p_asinf
#define acosf p2p_acosf
#define atanf p2p_atanf
#define asinhf p2p_asinhf
#define acoshf p2p_acoshf
#define atanhf p2p_atanhf
#define erff p2p_erff
#define erfcf p2p_erfcf
#define normcdff p2p_normcdff
#define rcbrtf p2p_rcbrtf
#define cbrtf p2p_cbrtf
#define powf p2p_powf
#define fmodf p2p_fmodf
#define remainderf p2p_remainderf
#define erfcx p2pm_erfcx
#define erfcxf p2p_erfcxf
#define erfinv p2pm_erfinv
#define erfinvf p2p_erfinvf
#define erfcinv p2pm_erfcinv
#define erfcinvf p2p_erfcinvf
#define normcdfinv p2pm_normcdfinv
#define normcdfinvf p2p_normcdfinvf
#define tgamma p2pm_tgamma
#define tgammaf p2p_tgammaf
#define lgamma p2pm_lgamma
#define lgammaf p2p_lgammaf
#define j0 p2pm_j0
#define j0f p2p_j0f
#define j1 p2pm_j1
#define j1f p2p_j1f
#define y0 p2pm_y0
#define y0f p2p_y0f
#define y1 p2pm_y1
#define y1f p2p_y1f
#define cyl_bessel_i0 p2pm_cyl_bessel_i0
#define cyl_bessel_i0f p2p_i0f
#define cyl_bessel_i1 p2pm_cyl_bessel_i1
#define cyl_bessel_i1f p2p_i1f
#define rhypot p2pm_rhypot
#define rhypotf p2p_rhypotf
#define jn p2p_jn
#define jnf p2p_jnf
#define yn p2p_yn
#define ynf p2p_ynf
#define norm p2p_norm
#define normf p2p_normf
#define rnorm p2p_rnorm
#define rnormf p2p_rnormf
#define norm3d p2p_norm3d
#define norm3df p2p_norm3df
#define norm4d p2p_norm4d
#define norm4df p2p_norm4df
#define rnorm3d p2p_rnorm3d
#define rnorm3df p2p_rnorm3df
#define rnorm4d p2p_rnorm4d
#define rnorm4df p2p_rnorm4df
#define remquof p2p_remquof
#define __expf p2p_expf
#define __exp10f p2p_exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __sinf sinf
#define __cosf cosf
#define __tanf p2p_tanf
#define __sincosf p2p_sincosf
#define __powf p2p_powf
#define __fdividef(x, y) ((float)(x) / (float)(y))
#define __frsqrt_rn p2p_frsqrt_rn
#undef P2P_OVERLOADS
#undef P2P_OVERLOADS2
#undef P2P_FN
#endif
