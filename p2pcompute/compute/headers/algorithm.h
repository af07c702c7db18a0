// <algorithm>, <utility>: what kernels take from them.
#pragma once
namespace std {
using ::max;
using ::min;
template <class T> __device__ __forceinline__ void swap(T &a, T &b) {
  T c = a;
  a = b;
  b = c;
}
}  // namespace std
