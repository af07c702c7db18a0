#pragma once
#include <map>
#include <stdexcept>

#define THIRDS 3
enum { N_DEFAULT = 1024 };

inline void fail(const char *why) { throw std::runtime_error(why); }

__device__ inline float half_of(float x) { return x / 2; }
