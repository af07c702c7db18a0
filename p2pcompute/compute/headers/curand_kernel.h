// <curand_kernel.h>: random numbers in device code by cuRAND's function names.
//
// Every generator here is the counter-based Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011): state is a key and a counter, so that a thread's numbers depend on (seed, subsequence, offset) alone. They
// are the same on every engine, but not those of cuRAND's XORWOW, MRG32k3a or MTGP32.
#ifndef P2P_CURAND_KERNEL_H
#define P2P_CURAND_KERNEL_H
#define P2P_RNG static __device__ __forceinline__
struct curandStatePhilox4_32_10 {
  uint4 ctr, output;
  uint2 key;
  unsigned int used;  // numbers of `output` that were handed out
  float spare;        // the second normal of a pair
  double spare_double;
  int has_spare, has_spare_double;
};
typedef curandStatePhilox4_32_10 curandStatePhilox4_32_10_t;
typedef curandStatePhilox4_32_10 curandStateXORWOW, curandStateXORWOW_t, curandState, curandState_t;
typedef curandStatePhilox4_32_10 curandStateMRG32k3a, curandStateMRG32k3a_t;

P2P_RNG uint4 p2p_philox(uint4 c, uint2 k) {
  for (int round = 0; round < 10; ++round) {
    unsigned hi0 = __umulhi(0xD2511F53u, c.x), lo0 = 0xD2511F53u * c.x;
    unsigned hi1 = __umulhi(0xCD9E8D57u, c.z), lo1 = 0xCD9E8D57u * c.z;
    c = make_uint4(hi1 ^ c.y ^ k.x, lo1, hi0 ^ c.w ^ k.y, lo0);
    k.x += 0x9E3779B9u;
    k.y += 0xBB67AE85u;
  }
  return c;
}

// Counter words x, y count blocks of four numbers; z, w are the subsequence.
P2P_RNG void p2p_advance(curandStatePhilox4_32_10 *s, unsigned long long blocks) {
  unsigned long long low = ((unsigned long long)s->ctr.y << 32 | s->ctr.x) + blocks;
  if (low < blocks && ++s->ctr.z == 0) ++s->ctr.w;
  s->ctr.x = (unsigned)low;
  s->ctr.y = (unsigned)(low >> 32);
  s->output = p2p_philox(s->ctr, s->key);
}

P2P_RNG void skipahead(unsigned long long n, curandStatePhilox4_32_10 *s) {
  unsigned used = s->used + (unsigned)(n & 3);
  s->used = used & 3;
  p2p_advance(s, n / 4 + used / 4);
}

P2P_RNG void skipahead_sequence(unsigned long long n, curandStatePhilox4_32_10 *s) {
  unsigned long long high = ((unsigned long long)s->ctr.w << 32 | s->ctr.z) + n;
  s->ctr.z = (unsigned)high;
  s->ctr.w = (unsigned)(high >> 32);
  p2p_advance(s, 0);
}

P2P_RNG void curand_init(unsigned long long seed, unsigned long long subsequence, unsigned long long offset,
                         curandStatePhilox4_32_10 *s) {
  s->key = make_uint2((unsigned)seed, (unsigned)(seed >> 32));
  s->ctr = make_uint4(0, 0, (unsigned)subsequence, (unsigned)(subsequence >> 32));
  s->used = 0;
  s->has_spare = s->has_spare_double = 0;
  s->spare = 0;
  s->spare_double = 0;
  skipahead(offset, s);
}

P2P_RNG unsigned int curand(curandStatePhilox4_32_10 *s) {
  unsigned n = s->used == 0 ? s->output.x : s->used == 1 ? s->output.y : s->used == 2 ? s->output.z : s->output.w;
  s->used = (s->used + 1) & 3;
  if (s->used == 0) p2p_advance(s, 1);
  return n;
}

P2P_RNG uint4 curand4(curandStatePhilox4_32_10 *s) {
  unsigned a = curand(s), b = curand(s), c = curand(s), d = curand(s);
  return make_uint4(a, b, c, d);
}

// Uniform in (0, 1], as cuRAND's: 2^-32 steps, shifted by half of one.
P2P_RNG float p2p_unit(unsigned int n) { return fmaf((float)n, 2.3283064365386963e-10f, 1.1641532182693481e-10f); }
P2P_RNG double p2p_unit_double(unsigned int a, unsigned int b) {
  unsigned long long n = (unsigned long long)a ^ ((unsigned long long)b << 21);
  return fma((double)n, 1.1102230246251565e-16, 5.551115123125783e-17);
}
P2P_RNG float curand_uniform(curandStatePhilox4_32_10 *s) { return p2p_unit(curand(s)); }
P2P_RNG double curand_uniform_double(curandStatePhilox4_32_10 *s) {
  unsigned a = curand(s), b = curand(s);
  return p2p_unit_double(a, b);
}
P2P_RNG float4 curand_uniform4(curandStatePhilox4_32_10 *s) {
  uint4 n = curand4(s);
  return make_float4(p2p_unit(n.x), p2p_unit(n.y), p2p_unit(n.z), p2p_unit(n.w));
}
P2P_RNG double2 curand_uniform2_double(curandStatePhilox4_32_10 *s) {
  double a = curand_uniform_double(s), b = curand_uniform_double(s);
  return make_double2(a, b);
}

// Box-Muller, with functions that are exact on every engine.
P2P_RNG float2 curand_normal2(curandStatePhilox4_32_10 *s) {
  float u = curand_uniform(s), v = curand_uniform(s);
  float r = sqrtf(-2.0f * logf(u)), a = 6.2831853071795865f * v;
  return make_float2(r * sinf(a), r * cosf(a));
}
P2P_RNG double2 curand_normal2_double(curandStatePhilox4_32_10 *s) {
  double u = curand_uniform_double(s), v = curand_uniform_double(s);
  double r = sqrt(-2.0 * log(u)), a = 6.283185307179586476925 * v;
  return make_double2(r * sin(a), r * cos(a));
}
P2P_RNG float curand_normal(curandStatePhilox4_32_10 *s) {
  s->has_spare ^= 1;
  if (!s->has_spare) return s->spare;
  float2 pair = curand_normal2(s);
  s->spare = pair.y;
  return pair.x;
}
P2P_RNG double curand_normal_double(curandStatePhilox4_32_10 *s) {
  s->has_spare_double ^= 1;
  if (!s->has_spare_double) return s->spare_double;
  double2 pair = curand_normal2_double(s);
  s->spare_double = pair.y;
  return pair.x;
}
P2P_RNG float4 curand_normal4(curandStatePhilox4_32_10 *s) {
  float2 a = curand_normal2(s), b = curand_normal2(s);
  return make_float4(a.x, a.y, b.x, b.y);
}
P2P_RNG float curand_log_normal(curandStatePhilox4_32_10 *s, float mean, float deviation) {
  return expf(mean + deviation * curand_normal(s));
}
P2P_RNG double curand_log_normal_double(curandStatePhilox4_32_10 *s, double mean, double deviation) {
  return exp(mean + deviation * curand_normal_double(s));
}

// Knuth's product for small means, else a rounded normal.
P2P_RNG unsigned int curand_poisson(curandStatePhilox4_32_10 *s, double mean) {
  if (mean > 60.0) {
    double x = mean + sqrt(mean) * curand_normal_double(s) + 0.5;
    return x > 0.0 ? (unsigned int)x : 0u;
  }
  double limit = exp(-mean), product = curand_uniform_double(s);
  unsigned int count = 0;
  for (; product > limit; ++count) product *= curand_uniform_double(s);
  return count;
}
#undef P2P_RNG
#endif
