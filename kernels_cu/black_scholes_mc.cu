// black_scholes_mc: the price of a European call option, by simulating where the share may end.
//
// Compile:  nvcc --fmad=false -arch=compute_75 -ptx black_scholes_mc.cu
// Try:      p2pcompute kernel check black_scholes_mc
//
// Under Black and Scholes (1973) the share ends at S exp((r - v^2/2) T + v sqrt(T) z) with z normal; the option is worth
// the mean of max(end - K, 0), discounted by exp(-r T). That mean has a closed form, so the answer can be checked.
//
// CPU reference: black_scholes_mc.py draws the same random numbers in numpy.
//
// Each thread simulates its own paths and stores the sum and the sum of squares of its payoffs; the caller adds the
// threads up. Random numbers come from a counter, not from a state: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw:
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011) turns (thread, draw) into four random words, so that any
// thread can be computed alone, in any order, anywhere. Box and Muller (1958) turn two words into two normals.
// Sums are double: a float sum of thousands of payoffs would lose the digits we are after.

__device__ void philox(unsigned counter[4], unsigned key0, unsigned key1) {
  for (int round = 0; round < 10; round++) {
    unsigned high0 = __umulhi(0xD2511F53u, counter[0]), low0 = 0xD2511F53u * counter[0];
    unsigned high1 = __umulhi(0xCD9E8D57u, counter[2]), low1 = 0xCD9E8D57u * counter[2];
    counter[0] = high1 ^ counter[1] ^ key0;
    counter[1] = low1;
    counter[2] = high0 ^ counter[3] ^ key1;
    counter[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

// The middle of one of 2^23 equal parts of (0, 1): never 0, so that its logarithm is finite; exact in float.
__device__ float uniform(unsigned word) { return ((float)(word >> 9) + 0.5f) * (1.0f / 8388608.0f); }

extern "C" __global__ void black_scholes_mc(int threads, int draws, unsigned seed, float spot, float strike,
                                            float drift, float volatility, double *sums, double *squares) {
  int thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (thread >= threads) return;
  double sum = 0.0, square = 0.0;
  for (int draw = 0; draw < draws; draw++) {
    unsigned word[4] = {(unsigned)thread, (unsigned)draw, 0u, 0u};
    philox(word, seed, 0u);
    for (int pair = 0; pair < 4; pair += 2) {
      float radius = sqrtf(-2.0f * logf(uniform(word[pair])));
      float turn = 2.0f * uniform(word[pair + 1]);  // in half circles: cospif needs no value of pi
      for (int side = 0; side < 2; side++) {
        float z = radius * (side ? sinpif(turn) : cospif(turn));
        float payoff = fmaxf(spot * expf(drift + volatility * z) - strike, 0.0f);
        sum += (double)payoff;
        square += (double)payoff * (double)payoff;
      }
    }
  }
  sums[thread] = sum;
  squares[thread] = square;
}
