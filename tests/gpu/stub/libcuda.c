// A libcuda with one device on which nothing is computed. It exists so that the real PyCUDA can be built, imported and
// driven through our worker on machines without a GPU. WHAT RUNS ON IT IS NEVER A GPU RESULT: launches do nothing.
//
// Device memory is host memory, filled with 0xAB. Every other function of cuda.h is in the generated file beside this
// one, weak, and fails (stub.py).

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda.h"

#define TOTAL_BYTES ((size_t)256 << 20)
#define ALLOCATIONS_MAX 4096

typedef struct { char *text; } Module;
typedef struct { char name[256]; int dynamic_max; } Function;
typedef struct { struct timespec at; int is_recorded; } Event;

static struct { char *start; size_t size; } allocations[ALLOCATIONS_MAX];
static size_t taken;
static int is_initialized, contexts;

static CUresult ready(void) {
  if (!is_initialized) return CUDA_ERROR_NOT_INITIALIZED;
  return contexts ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
#define NEED_CONTEXT do { CUresult fault = ready(); if (fault) return fault; } while (0)

// Whether some allocation holds all of these bytes.
static int holds(CUdeviceptr address, size_t size) {
  for (int i = 0; i < ALLOCATIONS_MAX; i++)
    if (allocations[i].start && address >= (CUdeviceptr)allocations[i].start &&
        address + size <= (CUdeviceptr)allocations[i].start + allocations[i].size)
      return 1;
  return size == 0;
}
#define NEED(address, size) if (!holds(address, size)) return CUDA_ERROR_INVALID_VALUE

CUresult cuGetErrorName(CUresult code, const char **name) {
  *name = code == CUDA_ERROR_NOT_SUPPORTED ? "CUDA_ERROR_NOT_SUPPORTED" : "CUDA_ERROR";
  return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult code, const char **text) {
  *text = code == CUDA_SUCCESS                   ? "no error"
          : code == CUDA_ERROR_INVALID_VALUE     ? "invalid argument"
          : code == CUDA_ERROR_OUT_OF_MEMORY     ? "out of memory"
          : code == CUDA_ERROR_NOT_INITIALIZED   ? "initialization error"
          : code == CUDA_ERROR_INVALID_CONTEXT   ? "invalid device context"
          : code == CUDA_ERROR_INVALID_PTX       ? "a PTX JIT compilation failed"
          : code == CUDA_ERROR_INVALID_HANDLE    ? "invalid resource handle"
          : code == CUDA_ERROR_NOT_FOUND         ? "named symbol not found"
          : code == CUDA_ERROR_INVALID_DEVICE    ? "invalid device ordinal"
          : code == CUDA_ERROR_NOT_SUPPORTED     ? "operation not supported (stub libcuda)"
                                                 : "unknown error (stub libcuda)";
  return CUDA_SUCCESS;
}

CUresult cuInit(unsigned flags) { is_initialized = 1; return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *version) { *version = CUDA_VERSION; return CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return is_initialized ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  if (!is_initialized) return CUDA_ERROR_NOT_INITIALIZED;
  *device = 0;
  return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetName(char *name, int size, CUdevice device) {
  strncpy(name, "Stub (no GPU)", (size_t)size);
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) { memset(uuid, 7, sizeof *uuid); return CUDA_SUCCESS; }
CUresult cuDeviceGetPCIBusId(char *id, int size, CUdevice device) {
  strncpy(id, "0000:00:00.0", (size_t)size);
  return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) { *bytes = TOTAL_BYTES; return CUDA_SUCCESS; }
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
  *major = 9, *minor = 0;
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 2147483647; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 49152; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 232448; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 1000000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT: *value = 512; break;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY: *value = 1; break;
    default: *value = 0;
  }
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate(CUcontext *context, unsigned flags, CUdevice device) {
  if (!is_initialized) return CUDA_ERROR_NOT_INITIALIZED;
  *context = (CUcontext)&contexts;
  contexts++;
  return CUDA_SUCCESS;
}
CUresult cuCtxDetach(CUcontext context) { contexts -= contexts > 0; return CUDA_SUCCESS; }
CUresult cuCtxDestroy(CUcontext context) { contexts -= contexts > 0; return CUDA_SUCCESS; }
CUresult cuCtxPushCurrent(CUcontext context) { contexts++; return CUDA_SUCCESS; }
CUresult cuCtxPopCurrent(CUcontext *context) {
  NEED_CONTEXT;
  *context = (CUcontext)&contexts;
  contexts--;
  return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *context) { *context = contexts ? (CUcontext)&contexts : NULL; return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice *device) { NEED_CONTEXT; *device = 0; return CUDA_SUCCESS; }
CUresult cuCtxSynchronize(void) { return ready(); }
CUresult cuCtxSetLimit(CUlimit limit, size_t value) { return ready(); }
CUresult cuCtxGetLimit(size_t *value, CUlimit limit) { NEED_CONTEXT; *value = 1024; return CUDA_SUCCESS; }
CUresult cuCtxSetCacheConfig(CUfunc_cache config) { return ready(); }
CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version) { *version = 3020; return CUDA_SUCCESS; }

CUresult cuMemAlloc(CUdeviceptr *address, size_t size) {
  NEED_CONTEXT;
  if (size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (size > TOTAL_BYTES - taken) return CUDA_ERROR_OUT_OF_MEMORY;
  for (int i = 0; i < ALLOCATIONS_MAX; i++)
    if (!allocations[i].start) {
      char *start = aligned_alloc(512, (size + 511) / 512 * 512);
      if (!start) return CUDA_ERROR_OUT_OF_MEMORY;
      memset(start, 0xAB, size);
      allocations[i].start = start, allocations[i].size = size;
      taken += size;
      *address = (CUdeviceptr)start;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFree(CUdeviceptr address) {
  NEED_CONTEXT;
  for (int i = 0; i < ALLOCATIONS_MAX; i++)
    if (allocations[i].start && (CUdeviceptr)allocations[i].start == address) {
      taken -= allocations[i].size;
      free(allocations[i].start);
      allocations[i].start = NULL;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemGetInfo(size_t *free_bytes, size_t *total) {
  NEED_CONTEXT;
  *free_bytes = TOTAL_BYTES - taken, *total = TOTAL_BYTES;
  return CUDA_SUCCESS;
}
CUresult cuMemGetAddressRange(CUdeviceptr *base, size_t *size, CUdeviceptr address) {
  for (int i = 0; i < ALLOCATIONS_MAX; i++)
    if (allocations[i].start && address >= (CUdeviceptr)allocations[i].start &&
        address < (CUdeviceptr)allocations[i].start + allocations[i].size) {
      *base = (CUdeviceptr)allocations[i].start, *size = allocations[i].size;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t size) {
  NEED_CONTEXT;
  NEED(to, size);
  memcpy((void *)to, from, size);
  return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t size) {
  NEED_CONTEXT;
  NEED(from, size);
  memcpy(to, (void *)from, size);
  return CUDA_SUCCESS;
}
CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t size) {
  NEED_CONTEXT;
  NEED(to, size);
  NEED(from, size);
  memmove((void *)to, (void *)from, size);
  return CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t n, CUstream stream) { return cuMemcpyHtoD(to, from, n); }
CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t n, CUstream stream) { return cuMemcpyDtoH(to, from, n); }
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream) { return cuMemcpyDtoD(to, from, n); }
CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  NEED_CONTEXT;
  NEED(to, count);
  memset((void *)to, value, count);
  return CUDA_SUCCESS;
}
CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t count) {
  NEED_CONTEXT;
  NEED(to, 4 * count);
  for (size_t i = 0; i < count; i++) ((unsigned *)to)[i] = value;
  return CUDA_SUCCESS;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream stream) { return cuMemsetD8(to, value, n); }
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, CUstream stream) { return cuMemsetD32(to, value, n); }

CUresult cuMemHostAlloc(void **start, size_t size, unsigned flags) {
  NEED_CONTEXT;
  *start = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  return *start ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFreeHost(void *start) { free(start); return CUDA_SUCCESS; }
CUresult cuMemHostRegister(void *start, size_t size, unsigned flags) { return ready(); }
CUresult cuMemHostUnregister(void *start) { return CUDA_SUCCESS; }

CUresult cuStreamCreate(CUstream *stream, unsigned flags) { NEED_CONTEXT; *stream = malloc(1); return CUDA_SUCCESS; }
CUresult cuStreamDestroy(CUstream stream) { free(stream); return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream stream) { return ready(); }
CUresult cuStreamQuery(CUstream stream) { return ready(); }
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) { return ready(); }
CUresult cuEventCreate(CUevent *event, unsigned flags) {
  NEED_CONTEXT;
  *event = calloc(1, sizeof(Event));
  return CUDA_SUCCESS;
}
CUresult cuEventDestroy(CUevent event) { free(event); return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream stream) {
  NEED_CONTEXT;
  clock_gettime(CLOCK_MONOTONIC, &((Event *)event)->at);
  ((Event *)event)->is_recorded = 1;
  return CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) { return ready(); }
CUresult cuEventQuery(CUevent event) { return ready(); }
CUresult cuEventElapsedTime(float *ms, CUevent from, CUevent to) {
  const Event *a = (Event *)from, *b = (Event *)to;
  if (!a->is_recorded || !b->is_recorded) return CUDA_ERROR_INVALID_HANDLE;
  *ms = (float)(b->at.tv_sec - a->at.tv_sec) * 1e3f + (float)(b->at.tv_nsec - a->at.tv_nsec) * 1e-6f;
  return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned n, CUjit_option *options, void **values) {
  NEED_CONTEXT;
  for (unsigned i = 0; i < n; i++)
    if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
      values[i] = NULL;
  if (!strstr(image, ".version ")) return CUDA_ERROR_INVALID_PTX;
  Module *loaded = malloc(sizeof *loaded);
  loaded->text = strdup(image);
  *module = (CUmodule)loaded;
  return CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule *module, const void *image) { return cuModuleLoadDataEx(module, image, 0, NULL, NULL); }
CUresult cuModuleUnload(CUmodule module) {
  free(((Module *)module)->text);
  free(module);
  return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  char wanted[300] = ".entry ";
  if (strlen(name) > 255) return CUDA_ERROR_NOT_FOUND;
  strcat(strcat(wanted, name), "(");
  if (!strstr(((Module *)module)->text, wanted)) return CUDA_ERROR_NOT_FOUND;
  Function *found = calloc(1, sizeof *found);
  strcpy(found->name, name);
  found->dynamic_max = 49152;
  *function = (CUfunction)found;
  return CUDA_SUCCESS;
}
CUresult cuModuleGetGlobal(CUdeviceptr *address, size_t *size, CUmodule module, const char *name) {
  return CUDA_ERROR_NOT_FOUND;
}
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) {
  *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK            ? 1024
           : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS                      ? 32
           : attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ? ((Function *)function)->dynamic_max
                                                                          : 0;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) ((Function *)function)->dynamic_max = value;
  return CUDA_SUCCESS;
}
CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache config) { return CUDA_SUCCESS; }
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void **parameters, void **extra) {
  NEED_CONTEXT;
  if (!gx || !gy || !gz || !bx || !by || !bz || (size_t)bx * by * bz > 1024) return CUDA_ERROR_INVALID_VALUE;
  return (int)shared > ((Function *)function)->dynamic_max ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
