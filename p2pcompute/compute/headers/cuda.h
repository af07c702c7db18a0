// <cuda.h>: the driver API's handles, which kernels take as parameters.
#ifndef P2P_CUDA_H
#define P2P_CUDA_H
typedef unsigned long long CUdeviceptr, CUtexObject, CUsurfObject;
#endif
