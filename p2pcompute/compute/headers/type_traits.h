// <type_traits>, <cuda/std/type_traits>: the traits that templates of kernels ask for.
#ifndef P2P_TYPE_TRAITS_H
#define P2P_TYPE_TRAITS_H
namespace std {
template <unsigned long N, unsigned long A = 16> struct aligned_storage {
  struct alignas(A) type {
    unsigned char data[N];
  };
};
template <unsigned long N, unsigned long A = 16> using aligned_storage_t = typename aligned_storage<N, A>::type;
typedef decltype(sizeof(0)) size_t;
typedef decltype((char *)0 - (char *)0) ptrdiff_t;
typedef decltype(nullptr) nullptr_t;
template <class T, T V> struct integral_constant {
  static constexpr T value = V;
  typedef T value_type;
  typedef integral_constant type;
  __device__ constexpr operator T() const { return V; }
  __device__ constexpr T operator()() const { return V; }
};
template <bool V> using bool_constant = integral_constant<bool, V>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;
template <class...> using void_t = void;
template <bool C, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool C, class T = void> using enable_if_t = typename enable_if<C, T>::type;
template <bool C, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <bool C, class A, class B> using conditional_t = typename conditional<C, A, B>::type;
template <class T> struct remove_const { typedef T type; };
template <class T> struct remove_const<const T> { typedef T type; };
template <class T> struct remove_volatile { typedef T type; };
template <class T> struct remove_volatile<volatile T> { typedef T type; };
template <class T> struct remove_reference { typedef T type; };
template <class T> struct remove_reference<T &> { typedef T type; };
template <class T> struct remove_reference<T &&> { typedef T type; };
template <class T> struct remove_pointer { typedef T type; };
template <class T> struct remove_pointer<T *> { typedef T type; };
template <class T> struct remove_pointer<T *const> { typedef T type; };
template <class T> using remove_const_t = typename remove_const<T>::type;
template <class T> using remove_volatile_t = typename remove_volatile<T>::type;
template <class T> using remove_reference_t = typename remove_reference<T>::type;
template <class T> using remove_pointer_t = typename remove_pointer<T>::type;
template <class T> struct remove_cv { typedef remove_const_t<remove_volatile_t<T>> type; };
template <class T> using remove_cv_t = typename remove_cv<T>::type;
template <class T> struct decay { typedef remove_cv_t<remove_reference_t<T>> type; };
template <class T> using decay_t = typename decay<T>::type;
template <class T> using remove_cvref_t = decay_t<T>;
template <class A, class B> struct is_same : false_type {};
template <class T> struct is_same<T, T> : true_type {};
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class T> struct p2p_is_integral : false_type {};
template <> struct p2p_is_integral<signed char> : true_type {};
template <> struct p2p_is_integral<unsigned char> : true_type {};
template <> struct p2p_is_integral<short> : true_type {};
template <> struct p2p_is_integral<unsigned short> : true_type {};
template <> struct p2p_is_integral<int> : true_type {};
template <> struct p2p_is_integral<unsigned> : true_type {};
template <> struct p2p_is_integral<long> : true_type {};
template <> struct p2p_is_integral<unsigned long> : true_type {};
template <> struct p2p_is_integral<long long> : true_type {};
template <> struct p2p_is_integral<unsigned long long> : true_type {};
template <> struct p2p_is_integral<bool> : true_type {};
template <> struct p2p_is_integral<char> : true_type {};
template <class T> struct is_integral : p2p_is_integral<remove_cv_t<T>> {};
template <class T> struct p2p_is_floating : false_type {};
template <> struct p2p_is_floating<float> : true_type {};
template <> struct p2p_is_floating<double> : true_type {};
template <class T> struct is_floating_point : p2p_is_floating<remove_cv_t<T>> {};
template <class T> struct is_arithmetic : bool_constant<is_integral<T>::value || is_floating_point<T>::value> {};
template <class T, bool A = is_arithmetic<T>::value> struct is_signed : false_type {};
template <class T> struct is_signed<T, true> : bool_constant<(remove_cv_t<T>(-1) < remove_cv_t<T>(0))> {};
template <class T, bool A = is_arithmetic<T>::value> struct is_unsigned : false_type {};
template <class T> struct is_unsigned<T, true> : bool_constant<(remove_cv_t<T>(0) < remove_cv_t<T>(-1))> {};
template <class T> struct is_void : is_same<void, remove_cv_t<T>> {};
template <class T> struct is_const : false_type {};
template <class T> struct is_const<const T> : true_type {};
template <class T> struct is_pointer : false_type {};
template <class T> struct is_pointer<T *> : true_type {};
template <class T> struct is_reference : false_type {};
template <class T> struct is_reference<T &> : true_type {};
template <class T> struct is_class : bool_constant<__is_class(T)> {};
template <class T> struct is_enum : bool_constant<__is_enum(T)> {};
template <class A, class B> struct is_base_of : bool_constant<__is_base_of(A, B)> {};
template <class T> struct is_trivially_copyable : bool_constant<__is_trivially_copyable(T)> {};
template <class T> inline constexpr bool is_integral_v = is_integral<T>::value;
template <class T> inline constexpr bool is_floating_point_v = is_floating_point<T>::value;
template <class T> inline constexpr bool is_arithmetic_v = is_arithmetic<T>::value;
template <class T> inline constexpr bool is_signed_v = is_signed<T>::value;
template <class T> inline constexpr bool is_unsigned_v = is_unsigned<T>::value;
template <class T> inline constexpr bool is_void_v = is_void<T>::value;
template <class T> inline constexpr bool is_const_v = is_const<T>::value;
template <class T> inline constexpr bool is_pointer_v = is_pointer<T>::value;
template <class T> inline constexpr bool is_reference_v = is_reference<T>::value;
template <class T> inline constexpr bool is_class_v = is_class<T>::value;
template <class T> inline constexpr bool is_enum_v = is_enum<T>::value;
template <class T> inline constexpr bool is_trivially_copyable_v = is_trivially_copyable<T>::value;
template <class A, class B> inline constexpr bool is_base_of_v = is_base_of<A, B>::value;
template <class T> struct p2p_unsigned { typedef T type; };
template <> struct p2p_unsigned<signed char> { typedef unsigned char type; };
template <> struct p2p_unsigned<char> { typedef unsigned char type; };
template <> struct p2p_unsigned<short> { typedef unsigned short type; };
template <> struct p2p_unsigned<int> { typedef unsigned int type; };
template <> struct p2p_unsigned<long> { typedef unsigned long type; };
template <> struct p2p_unsigned<long long> { typedef unsigned long long type; };
template <class T> struct make_unsigned : p2p_unsigned<remove_cv_t<T>> {};
template <class T> using make_unsigned_t = typename make_unsigned<T>::type;
template <class T> struct p2p_signed { typedef T type; };
template <> struct p2p_signed<unsigned char> { typedef signed char type; };
template <> struct p2p_signed<unsigned short> { typedef short type; };
template <> struct p2p_signed<unsigned int> { typedef int type; };
template <> struct p2p_signed<unsigned long> { typedef long type; };
template <> struct p2p_signed<unsigned long long> { typedef long long type; };
template <class T> struct make_signed : p2p_signed<remove_cv_t<T>> {};
template <class T> using make_signed_t = typename make_signed<T>::type;
template <class T> struct underlying_type { typedef __underlying_type(T) type; };
template <class T> using underlying_type_t = typename underlying_type<T>::type;
template <class T> T &&declval() noexcept;
template <class A, class B = A> struct common_type { typedef decay_t<decltype(true ? declval<A>() : declval<B>())> type; };
template <class A, class B = A> using common_type_t = typename common_type<A, B>::type;
template <class T> struct add_const { typedef const T type; };
template <class T> using add_const_t = const T;
template <class T> struct add_pointer { typedef remove_reference_t<T> *type; };
template <class T> using add_pointer_t = typename add_pointer<T>::type;
template <class T> struct is_array : false_type {};
template <class T, size_t N> struct is_array<T[N]> : true_type {};
template <class T> struct alignment_of : integral_constant<size_t, alignof(T)> {};
}  // namespace std
namespace cuda {
namespace std {
using namespace ::std;
}
}  // namespace cuda
#endif
