// <algorithm>, <utility>, <functional>, <tuple>'s pair: what kernels take from them.
#ifndef P2P_ALGORITHM_H
#define P2P_ALGORITHM_H
#include <type_traits>
namespace std {
template <class T> __device__ constexpr const T &min(const T &a, const T &b) { return b < a ? b : a; }
template <class T> __device__ constexpr const T &max(const T &a, const T &b) { return a < b ? b : a; }
template <class T, class F> __device__ constexpr const T &min(const T &a, const T &b, F less) {
  return less(b, a) ? b : a;
}
template <class T, class F> __device__ constexpr const T &max(const T &a, const T &b, F less) {
  return less(a, b) ? b : a;
}
template <class T> __device__ constexpr void swap(T &a, T &b) {
  T c = a;
  a = b;
  b = c;
}
template <class T> __device__ constexpr const T &clamp(const T &x, const T &low, const T &high) {
  return x < low ? low : high < x ? high : x;
}
template <class T, class U = T> __device__ constexpr T exchange(T &x, U value) {
  T old = x;
  x = value;
  return old;
}
template <class I, class T> __device__ constexpr void fill(I first, I last, const T &value) {
  for (; first != last; ++first) *first = value;
}
template <class I, class O> __device__ constexpr O copy(I first, I last, O out) {
  for (; first != last; ++first, ++out) *out = *first;
  return out;
}
template <class I, class T> __device__ constexpr I lower_bound(I first, I last, const T &value) {
  for (auto count = last - first; count > 0;) {
    auto half = count / 2;
    if (first[half] < value) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}
template <class I, class T> __device__ constexpr I upper_bound(I first, I last, const T &value) {
  for (auto count = last - first; count > 0;) {
    auto half = count / 2;
    if (value < first[half]) {
      count = half;
    } else {
      first += half + 1;
      count -= half + 1;
    }
  }
  return first;
}
template <class A, class B> struct pair {
  typedef A first_type;
  typedef B second_type;
  A first;
  B second;
};
template <class A, class B> __device__ constexpr pair<A, B> make_pair(A a, B b) { return pair<A, B>{a, b}; }
template <class A, class B> __device__ constexpr bool operator==(const pair<A, B> &x, const pair<A, B> &y) {
  return x.first == y.first && x.second == y.second;
}
template <class A, class B> __device__ constexpr bool operator<(const pair<A, B> &x, const pair<A, B> &y) {
  return x.first < y.first || (!(y.first < x.first) && x.second < y.second);
}
template <class T, T... I> struct integer_sequence {
  static constexpr unsigned long size() { return sizeof...(I); }
};
template <unsigned long... I> using index_sequence = integer_sequence<unsigned long, I...>;
template <unsigned long N, unsigned long... I> struct p2p_sequence : p2p_sequence<N - 1, N - 1, I...> {};
template <unsigned long... I> struct p2p_sequence<0, I...> {
  typedef index_sequence<I...> type;
};
template <unsigned long N> using make_index_sequence = typename p2p_sequence<N>::type;
#define P2P_BINARY(NAME, RESULT, OP)                                                           \
  template <class T = void> struct NAME {                                                      \
    __device__ constexpr RESULT operator()(const T &a, const T &b) const { return a OP b; }    \
  };
P2P_BINARY(plus, T, +)
P2P_BINARY(minus, T, -)
P2P_BINARY(multiplies, T, *)
P2P_BINARY(divides, T, /)
P2P_BINARY(modulus, T, %)
P2P_BINARY(bit_and, T, &)
P2P_BINARY(bit_or, T, |)
P2P_BINARY(bit_xor, T, ^)
P2P_BINARY(less, bool, <)
P2P_BINARY(greater, bool, >)
P2P_BINARY(less_equal, bool, <=)
P2P_BINARY(greater_equal, bool, >=)
P2P_BINARY(equal_to, bool, ==)
P2P_BINARY(not_equal_to, bool, !=)
P2P_BINARY(logical_and, bool, &&)
P2P_BINARY(logical_or, bool, ||)
#undef P2P_BINARY
}  // namespace std
namespace cuda {
namespace std {
using namespace ::std;
}
}  // namespace cuda
#endif
