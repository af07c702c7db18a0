// helper_cuda.h, helper_functions.h and their kin: what of them reaches device code.
#ifndef P2P_HELPER_CUDA_H
#define P2P_HELPER_CUDA_H
#ifndef MAX
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif
#ifndef MIN
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#endif
#ifndef EXIT_WAIVED
#define EXIT_WAIVED 2
#endif
#endif
