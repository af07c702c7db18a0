// <array>, <cuda/std/array>
#ifndef P2P_ARRAY_H
#define P2P_ARRAY_H
namespace std {
template <class T, unsigned long N> struct array {
  typedef T value_type;
  T p2p_elements[N ? N : 1];
  __device__ constexpr T &operator[](unsigned long i) { return p2p_elements[i]; }
  __device__ constexpr const T &operator[](unsigned long i) const { return p2p_elements[i]; }
  __device__ constexpr T &front() { return p2p_elements[0]; }
  __device__ constexpr const T &front() const { return p2p_elements[0]; }
  __device__ constexpr T &back() { return p2p_elements[N - 1]; }
  __device__ constexpr const T &back() const { return p2p_elements[N - 1]; }
  __device__ constexpr T *data() { return p2p_elements; }
  __device__ constexpr const T *data() const { return p2p_elements; }
  __device__ constexpr T *begin() { return p2p_elements; }
  __device__ constexpr const T *begin() const { return p2p_elements; }
  __device__ constexpr T *end() { return p2p_elements + N; }
  __device__ constexpr const T *end() const { return p2p_elements + N; }
  __device__ static constexpr unsigned long size() { return N; }
  __device__ static constexpr bool empty() { return N == 0; }
  __device__ constexpr void fill(const T &value) {
    for (unsigned long i = 0; i < N; ++i) p2p_elements[i] = value;
  }
};
}  // namespace std
namespace cuda {
namespace std {
using namespace ::std;
}
}  // namespace cuda
#endif
