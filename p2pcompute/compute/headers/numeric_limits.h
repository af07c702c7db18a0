// <limits>, <cuda/std/limits>
#ifndef P2P_NUMERIC_LIMITS_H
#define P2P_NUMERIC_LIMITS_H
#include <float.h>
#include <limits.h>
namespace std {
template <class T, int D, bool S> struct p2p_integer_limits {
  static constexpr bool is_specialized = true, is_signed = S, is_integer = true, is_exact = true, is_iec559 = false;
  static constexpr bool has_infinity = false, has_quiet_NaN = false;
  static constexpr int digits = D, digits10 = D * 30103 / 100000, max_digits10 = 0, radix = 2;
  __device__ static constexpr T epsilon() { return 0; }
  __device__ static constexpr T infinity() { return 0; }
};
template <class T> struct numeric_limits {
  static constexpr bool is_specialized = false, is_signed = false, is_integer = false, is_exact = false;
  __device__ static constexpr T min() { return T(); }
  __device__ static constexpr T max() { return T(); }
  __device__ static constexpr T lowest() { return T(); }
};
template <class T> struct numeric_limits<const T> : numeric_limits<T> {};
template <> struct numeric_limits<bool> : p2p_integer_limits<bool, 1, false> {
  __device__ static constexpr bool min() { return false; }
  __device__ static constexpr bool lowest() { return false; }
  __device__ static constexpr bool max() { return true; }
};
template <> struct numeric_limits<char> : p2p_integer_limits<char, 7, true> {
  __device__ static constexpr char min() { return CHAR_MIN; }
  __device__ static constexpr char lowest() { return CHAR_MIN; }
  __device__ static constexpr char max() { return CHAR_MAX; }
};
template <> struct numeric_limits<signed char> : p2p_integer_limits<signed char, 7, true> {
  __device__ static constexpr signed char min() { return SCHAR_MIN; }
  __device__ static constexpr signed char lowest() { return SCHAR_MIN; }
  __device__ static constexpr signed char max() { return SCHAR_MAX; }
};
template <> struct numeric_limits<unsigned char> : p2p_integer_limits<unsigned char, 8, false> {
  __device__ static constexpr unsigned char min() { return 0; }
  __device__ static constexpr unsigned char lowest() { return 0; }
  __device__ static constexpr unsigned char max() { return UCHAR_MAX; }
};
template <> struct numeric_limits<short> : p2p_integer_limits<short, 15, true> {
  __device__ static constexpr short min() { return SHRT_MIN; }
  __device__ static constexpr short lowest() { return SHRT_MIN; }
  __device__ static constexpr short max() { return SHRT_MAX; }
};
template <> struct numeric_limits<unsigned short> : p2p_integer_limits<unsigned short, 16, false> {
  __device__ static constexpr unsigned short min() { return 0; }
  __device__ static constexpr unsigned short lowest() { return 0; }
  __device__ static constexpr unsigned short max() { return USHRT_MAX; }
};
template <> struct numeric_limits<int> : p2p_integer_limits<int, 31, true> {
  __device__ static constexpr int min() { return INT_MIN; }
  __device__ static constexpr int lowest() { return INT_MIN; }
  __device__ static constexpr int max() { return INT_MAX; }
};
template <> struct numeric_limits<unsigned> : p2p_integer_limits<unsigned, 32, false> {
  __device__ static constexpr unsigned min() { return 0; }
  __device__ static constexpr unsigned lowest() { return 0; }
  __device__ static constexpr unsigned max() { return UINT_MAX; }
};
template <> struct numeric_limits<long> : p2p_integer_limits<long, 63, true> {
  __device__ static constexpr long min() { return LONG_MIN; }
  __device__ static constexpr long lowest() { return LONG_MIN; }
  __device__ static constexpr long max() { return LONG_MAX; }
};
template <> struct numeric_limits<unsigned long> : p2p_integer_limits<unsigned long, 64, false> {
  __device__ static constexpr unsigned long min() { return 0; }
  __device__ static constexpr unsigned long lowest() { return 0; }
  __device__ static constexpr unsigned long max() { return ULONG_MAX; }
};
template <> struct numeric_limits<long long> : p2p_integer_limits<long long, 63, true> {
  __device__ static constexpr long long min() { return LLONG_MIN; }
  __device__ static constexpr long long lowest() { return LLONG_MIN; }
  __device__ static constexpr long long max() { return LLONG_MAX; }
};
template <> struct numeric_limits<unsigned long long> : p2p_integer_limits<unsigned long long, 64, false> {
  __device__ static constexpr unsigned long long min() { return 0; }
  __device__ static constexpr unsigned long long lowest() { return 0; }
  __device__ static constexpr unsigned long long max() { return ULLONG_MAX; }
};
template <> struct numeric_limits<float> {
  static constexpr bool is_specialized = true, is_signed = true, is_integer = false, is_exact = false, is_iec559 = true;
  static constexpr bool has_infinity = true, has_quiet_NaN = true;
  static constexpr int digits = 24, digits10 = 6, max_digits10 = 9, radix = 2;
  static constexpr int max_exponent = 128, min_exponent = -125, max_exponent10 = 38, min_exponent10 = -37;
  __device__ static constexpr float min() { return FLT_MIN; }
  __device__ static constexpr float lowest() { return -FLT_MAX; }
  __device__ static constexpr float max() { return FLT_MAX; }
  __device__ static constexpr float epsilon() { return FLT_EPSILON; }
  __device__ static constexpr float round_error() { return 0.5f; }
  __device__ static constexpr float denorm_min() { return 1.401298464324817e-45f; }
  __device__ static constexpr float infinity() { return __builtin_bit_cast(float, 0x7f800000); }
  __device__ static constexpr float quiet_NaN() { return __builtin_bit_cast(float, 0x7fffffff); }
};
template <> struct numeric_limits<double> {
  static constexpr bool is_specialized = true, is_signed = true, is_integer = false, is_exact = false, is_iec559 = true;
  static constexpr bool has_infinity = true, has_quiet_NaN = true;
  static constexpr int digits = 53, digits10 = 15, max_digits10 = 17, radix = 2;
  static constexpr int max_exponent = 1024, min_exponent = -1021, max_exponent10 = 308, min_exponent10 = -307;
  __device__ static constexpr double min() { return DBL_MIN; }
  __device__ static constexpr double lowest() { return -DBL_MAX; }
  __device__ static constexpr double max() { return DBL_MAX; }
  __device__ static constexpr double epsilon() { return DBL_EPSILON; }
  __device__ static constexpr double round_error() { return 0.5; }
  __device__ static constexpr double denorm_min() { return 4.9406564584124654e-324; }
  __device__ static constexpr double infinity() { return __builtin_bit_cast(double, 0x7ff0000000000000ll); }
  __device__ static constexpr double quiet_NaN() { return __builtin_bit_cast(double, 0x7ff8000000000000ll); }
};
}  // namespace std
namespace cuda {
namespace std {
using namespace ::std;
}
}  // namespace cuda
#endif
