// Served as cublas_v2.h and kin. What a kernel can use of them is what they include.
#ifndef P2P_CUBLAS_H
#define P2P_CUBLAS_H
#include <cuComplex.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif
