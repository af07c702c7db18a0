// <cufft.h>, <cufftXt.h>: their element types, which kernels share with the library.
#ifndef P2P_CUFFT_H
#define P2P_CUFFT_H
#include <cuComplex.h>
typedef float cufftReal;
typedef double cufftDoubleReal;
typedef cuComplex cufftComplex;
typedef cuDoubleComplex cufftDoubleComplex;
#endif
