// <cub/cub.cuh>: what kernels take from CUB: reductions, scans, loads, stores and exchanges of a block or a warp.
// Partial results meet in one fixed order, by rank, so sums of floats are the same on every engine; they are not the
// bits of NVIDIA's own CUB, which takes another order. Results that CUB gives thread 0 only, all threads get here.
#ifndef P2P_CUB_H
#define P2P_CUB_H
#include <algorithm>
#include <limits>
#define CUB_MAX(a, b) (((b) > (a)) ? (b) : (a))
#define CUB_MIN(a, b) (((b) < (a)) ? (b) : (a))
#define P2P_CUB __device__ __forceinline__
namespace cub {
enum BlockReduceAlgorithm {
  BLOCK_REDUCE_RAKING_COMMUTATIVE_ONLY,
  BLOCK_REDUCE_RAKING,
  BLOCK_REDUCE_WARP_REDUCTIONS
};
enum BlockScanAlgorithm { BLOCK_SCAN_RAKING, BLOCK_SCAN_RAKING_MEMOIZE, BLOCK_SCAN_WARP_SCANS };
enum BlockLoadAlgorithm {
  BLOCK_LOAD_DIRECT,
  BLOCK_LOAD_STRIPED,
  BLOCK_LOAD_VECTORIZE,
  BLOCK_LOAD_TRANSPOSE,
  BLOCK_LOAD_WARP_TRANSPOSE,
  BLOCK_LOAD_WARP_TRANSPOSE_TIMESLICED
};
enum BlockStoreAlgorithm {
  BLOCK_STORE_DIRECT,
  BLOCK_STORE_STRIPED,
  BLOCK_STORE_VECTORIZE,
  BLOCK_STORE_TRANSPOSE,
  BLOCK_STORE_WARP_TRANSPOSE,
  BLOCK_STORE_WARP_TRANSPOSE_TIMESLICED
};
template <class K, class V> struct KeyValuePair {
  typedef K Key;
  typedef V Value;
  K key;
  V value;
  P2P_CUB KeyValuePair() {}
  P2P_CUB KeyValuePair(const K &k, const V &v) : key(k), value(v) {}
  P2P_CUB bool operator!=(const KeyValuePair &b) const { return value != b.value || key != b.key; }
};
#define P2P_OPERATOR(NAME, RESULT)                                                        \
  struct NAME {                                                                           \
    template <class T> P2P_CUB auto operator()(const T &a, const T &b) const { return RESULT; } \
  };
P2P_OPERATOR(Sum, T(a + b))
P2P_OPERATOR(Difference, T(a - b))
P2P_OPERATOR(Max, a < b ? b : a)
P2P_OPERATOR(Min, b < a ? b : a)
P2P_OPERATOR(Equality, a == b)
P2P_OPERATOR(Inequality, a != b)
P2P_OPERATOR(ArgMax, b.value > a.value || (a.value == b.value && b.key < a.key) ? b : a)
P2P_OPERATOR(ArgMin, b.value < a.value || (a.value == b.value && b.key < a.key) ? b : a)
#undef P2P_OPERATOR
// Keys as unsigned numbers of the same order: for radix methods.
template <class U, class T> struct P2PTraits {
  typedef U UnsignedBits;
  enum { FLOAT = !std::numeric_limits<T>::is_integer, SIGNED = std::numeric_limits<T>::is_signed };
  static constexpr U HIGH = U(1) << (sizeof(U) * 8 - 1);
  P2P_CUB static U TwiddleIn(U key) { return !SIGNED ? key : key ^ (FLOAT && (key & HIGH) ? U(~U(0)) : HIGH); }
  P2P_CUB static U TwiddleOut(U key) { return !SIGNED ? key : key ^ (FLOAT && !(key & HIGH) ? U(~U(0)) : HIGH); }
};
template <int BYTES> struct P2PBits;
template <> struct P2PBits<1> { typedef unsigned char type; };
template <> struct P2PBits<2> { typedef unsigned short type; };
template <> struct P2PBits<4> { typedef unsigned int type; };
template <> struct P2PBits<8> { typedef unsigned long long type; };
template <class T> struct Traits : P2PTraits<typename P2PBits<sizeof(T)>::type, T> {};
// Room for N values that no constructor touches, as shared memory needs it.
template <class T, int N> struct alignas(alignof(T)) P2PRoom {
  unsigned char bytes[sizeof(T) * N];
  P2P_CUB T &operator[](int i) { return reinterpret_cast<T *>(bytes)[i]; }
};
template <class T> struct Uninitialized : P2PRoom<T, 1> {
  P2P_CUB T &Alias() { return (*this)[0]; }
};
P2P_CUB int RowMajorTid(int x, int y, int z) {
  return (z == 1 ? 0 : int(threadIdx.z) * x * y) + (y == 1 ? 0 : int(threadIdx.y) * x) + int(threadIdx.x);
}
P2P_CUB unsigned LaneId() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}
P2P_CUB unsigned WarpId() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) / 32;
}
// A block, and a warp or an aligned part of one.
template <int X, int Y, int Z> struct P2PBlock {
  enum { SIZE = X * Y * Z };
  P2P_CUB static int rank() { return RowMajorTid(X, Y, Z); }
  P2P_CUB static void sync() { __syncthreads(); }
};
template <int W> struct P2PWarp {
  enum { SIZE = W };
  P2P_CUB static int rank() { return LaneId() % W; }
  P2P_CUB static void sync() {
    __syncwarp(W == 32 ? 0xffffffffu : ((1u << (W % 32)) - 1) << (LaneId() / W * W));
  }
};
namespace internal {
template <int N, class T, class F> P2P_CUB T ThreadReduce(const T (&items)[N], F op) {
  T sum = items[0];
#pragma unroll
  for (int i = 1; i < N; i++) sum = op(sum, items[i]);
  return sum;
}
}  // namespace internal
template <int N, class T, class F> P2P_CUB T ThreadReduce(const T (&items)[N], F op) {
  return internal::ThreadReduce(items, op);
}
// The value of all of a group: neighbours meet first, then pairs of pairs.
template <class T, class G> struct P2PReduce {
  typedef P2PRoom<T, G::SIZE> TempStorage;
  TempStorage &room;
  P2P_CUB explicit P2PReduce(TempStorage &t) : room(t) {}
  template <class F> P2P_CUB T Reduce(T x, F op, int valid) {
    const int rank = G::rank();
    room[rank] = x;
    G::sync();
    for (int step = 1; step < G::SIZE; step *= 2) {
      if (rank % (2 * step) == 0 && rank + step < valid) room[rank] = op(room[rank], room[rank + step]);
      G::sync();
    }
    return room[0];
  }
  template <class F> P2P_CUB T Reduce(T x, F op) { return Reduce(x, op, int(G::SIZE)); }
  template <int N, class F> P2P_CUB T Reduce(T (&items)[N], F op) {
    return Reduce(internal::ThreadReduce(items, op), op, int(G::SIZE));
  }
  P2P_CUB T Sum(T x) { return Reduce(x, cub::Sum(), int(G::SIZE)); }
  P2P_CUB T Sum(T x, int valid) { return Reduce(x, cub::Sum(), valid); }
  template <int N> P2P_CUB T Sum(T (&items)[N]) { return Reduce(items, cub::Sum()); }
};
template <class T, int X, BlockReduceAlgorithm A = BLOCK_REDUCE_WARP_REDUCTIONS, int Y = 1, int Z = 1, int L = 0>
struct BlockReduce : P2PReduce<T, P2PBlock<X, Y, Z>> {
  using P2PReduce<T, P2PBlock<X, Y, Z>>::P2PReduce;
  P2P_CUB BlockReduce() : P2PReduce<T, P2PBlock<X, Y, Z>>(own()) {}

 private:
  P2P_CUB static P2PRoom<T, X * Y * Z> &own() {
    __shared__ P2PRoom<T, X * Y * Z> room;
    return room;
  }
};
template <class T, int W = 32, int L = 0> struct WarpReduce : P2PReduce<T, P2PWarp<W>> {
  using P2PReduce<T, P2PWarp<W>>::P2PReduce;
};
// What all before one have, with and without its own: distances double from step to step.
template <class T, class G> struct P2PScan {
  struct TempStorage {
    P2PRoom<T, G::SIZE> values;
    P2PRoom<T, 1> prefix;
  };
  TempStorage &room;
  P2P_CUB explicit P2PScan(TempStorage &t) : room(t) {}

  template <class F> P2P_CUB void InclusiveScan(T in, T &out, F op) {
    const int rank = G::rank();
    room.values[rank] = in;
    G::sync();
    for (int step = 1; step < G::SIZE; step *= 2) {
      if (rank >= step) in = op(room.values[rank - step], in);
      G::sync();
      room.values[rank] = in;
      G::sync();
    }
    out = in;
  }
  template <class F> P2P_CUB void InclusiveScan(T in, T &out, F op, T &total) {
    InclusiveScan(in, out, op);
    total = room.values[G::SIZE - 1];
  }
  template <class F> P2P_CUB void ExclusiveScan(T in, T &out, F op, T &total) {
    T whole;
    InclusiveScan(in, whole, op, total);
    if (G::rank() > 0) out = room.values[G::rank() - 1];
  }
  template <class F> P2P_CUB void ExclusiveScan(T in, T &out, F op) {
    T total;
    ExclusiveScan(in, out, op, total);
  }
  template <class F> P2P_CUB void ExclusiveScan(T in, T &out, T first, F op, T &total) {
    T before = first;
    ExclusiveScan(in, before, op, total);
    out = G::rank() > 0 ? op(first, before) : first;
  }
  template <class F> P2P_CUB void ExclusiveScan(T in, T &out, T first, F op) {
    T total;
    ExclusiveScan(in, out, first, op, total);
  }
  P2P_CUB void InclusiveSum(T in, T &out) { InclusiveScan(in, out, cub::Sum()); }
  P2P_CUB void InclusiveSum(T in, T &out, T &total) { InclusiveScan(in, out, cub::Sum(), total); }
  P2P_CUB void ExclusiveSum(T in, T &out) { ExclusiveScan(in, out, T(), cub::Sum()); }
  P2P_CUB void ExclusiveSum(T in, T &out, T &total) { ExclusiveScan(in, out, T(), cub::Sum(), total); }
};
template <class T, int W = 32, int L = 0> struct WarpScan : P2PScan<T, P2PWarp<W>> {
  using P2PScan<T, P2PWarp<W>>::P2PScan;
};
template <class T, int X, BlockScanAlgorithm A = BLOCK_SCAN_RAKING, int Y = 1, int Z = 1, int L = 0>
struct BlockScan : P2PScan<T, P2PBlock<X, Y, Z>> {
  typedef P2PBlock<X, Y, Z> G;
  typedef P2PScan<T, G> Base;
  using typename Base::TempStorage;
  using Base::Base;
  using Base::ExclusiveScan;
  using Base::ExclusiveSum;
  using Base::InclusiveScan;
  using Base::InclusiveSum;
  P2P_CUB BlockScan() : Base(own()) {}

  // A functor gives what comes before the block, told the block's total; the first warp calls it, lane 0 counts.
  template <class F, class P> P2P_CUB auto ExclusiveScan(T in, T &out, F op, P &prefix) -> decltype(prefix(in), void()) {
    T total, before = in;
    Base::ExclusiveScan(in, before, op, total);
    T first = ask(prefix, total);
    out = G::rank() > 0 ? op(first, before) : first;
  }
  template <class F, class P> P2P_CUB auto InclusiveScan(T in, T &out, F op, P &prefix) -> decltype(prefix(in), void()) {
    T total, whole;
    Base::InclusiveScan(in, whole, op, total);
    out = op(ask(prefix, total), whole);
  }
  template <class P> P2P_CUB auto ExclusiveSum(T in, T &out, P &prefix) -> decltype(prefix(in), void()) {
    ExclusiveScan(in, out, cub::Sum(), prefix);
  }
  template <class P> P2P_CUB auto InclusiveSum(T in, T &out, P &prefix) -> decltype(prefix(in), void()) {
    InclusiveScan(in, out, cub::Sum(), prefix);
  }
  // Several items of each thread, one after another.
  template <int N, class F, class... R> P2P_CUB void InclusiveScan(T (&in)[N], T (&out)[N], F op, R &...rest) {
    T before = in[0];
    ExclusiveScan(internal::ThreadReduce(in, op), before, op, rest...);
    follow(in, out, op, before, sizeof...(R) > 0 && !totals<R...>() || G::rank() > 0, false);
  }
  template <int N, class F> P2P_CUB void ExclusiveScan(T (&in)[N], T (&out)[N], T first, F op) {
    T total;
    ExclusiveScan(in, out, first, op, total);
  }
  template <int N, class F> P2P_CUB void ExclusiveScan(T (&in)[N], T (&out)[N], T first, F op, T &total) {
    T before;
    Base::ExclusiveScan(internal::ThreadReduce(in, op), before, first, op, total);
    follow(in, out, op, before, true, true);
  }
  template <int N> P2P_CUB void ExclusiveSum(T (&in)[N], T (&out)[N]) { ExclusiveScan(in, out, T(), cub::Sum()); }
  template <int N> P2P_CUB void ExclusiveSum(T (&in)[N], T (&out)[N], T &total) {
    ExclusiveScan(in, out, T(), cub::Sum(), total);
  }
  template <int N, class P>
  P2P_CUB auto ExclusiveSum(T (&in)[N], T (&out)[N], P &prefix) -> decltype(prefix(in[0]), void()) {
    T before;
    ExclusiveScan(internal::ThreadReduce(in, cub::Sum()), before, cub::Sum(), prefix);
    follow(in, out, cub::Sum(), before, true, true);
  }
  template <int N, class... R> P2P_CUB void InclusiveSum(T (&in)[N], T (&out)[N], R &...rest) {
    InclusiveScan(in, out, cub::Sum(), rest...);
  }

 private:
  template <class... R> P2P_CUB static constexpr bool totals() { return (std::is_same<R, T>::value && ...); }
  template <class P> P2P_CUB T ask(P &prefix, T total) {
    if (G::rank() < 32) {
      T first = prefix(total);
      if (G::rank() == 0) this->room.prefix[0] = first;
    }
    G::sync();
    return this->room.prefix[0];
  }
  template <int N, class F>
  P2P_CUB static void follow(T (&in)[N], T (&out)[N], F op, T sum, bool begun, bool exclusive) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      T next = begun || i > 0 ? op(sum, in[i]) : in[i];
      out[i] = exclusive ? sum : next;
      sum = next;
    }
  }
  P2P_CUB static TempStorage &own() {
    __shared__ TempStorage room;
    return room;
  }
};
template <class T, int N, class I> P2P_CUB void LoadDirectBlocked(int rank, I from, T (&items)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) items[i] = from[rank * N + i];
}
template <class T, int N, class I> P2P_CUB void LoadDirectBlocked(int rank, I from, T (&items)[N], int valid) {
#pragma unroll
  for (int i = 0; i < N; i++)
    if (rank * N + i < valid) items[i] = from[rank * N + i];
}
template <int X, class T, int N, class I> P2P_CUB void LoadDirectStriped(int rank, I from, T (&items)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) items[i] = from[rank + i * X];
}
template <int X, class T, int N, class I> P2P_CUB void LoadDirectStriped(int rank, I from, T (&items)[N], int valid) {
#pragma unroll
  for (int i = 0; i < N; i++)
    if (rank + i * X < valid) items[i] = from[rank + i * X];
}
template <class T, int N, class I> P2P_CUB void StoreDirectBlocked(int rank, I to, T (&items)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) to[rank * N + i] = items[i];
}
template <class T, int N, class I> P2P_CUB void StoreDirectBlocked(int rank, I to, T (&items)[N], int valid) {
#pragma unroll
  for (int i = 0; i < N; i++)
    if (rank * N + i < valid) to[rank * N + i] = items[i];
}
template <int X, class T, int N, class I> P2P_CUB void StoreDirectStriped(int rank, I to, T (&items)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) to[rank + i * X] = items[i];
}
template <int X, class T, int N, class I> P2P_CUB void StoreDirectStriped(int rank, I to, T (&items)[N], int valid) {
#pragma unroll
  for (int i = 0; i < N; i++)
    if (rank + i * X < valid) to[rank + i * X] = items[i];
}
struct P2PNothing {};
template <class T, int X, int N, BlockLoadAlgorithm A = BLOCK_LOAD_DIRECT, int Y = 1, int Z = 1, int L = 0>
struct BlockLoad {
  typedef P2PNothing TempStorage;
  P2P_CUB BlockLoad() {}
  P2P_CUB explicit BlockLoad(TempStorage &) {}
  template <class I> P2P_CUB void Load(I from, T (&items)[N]) {
    if (A == BLOCK_LOAD_STRIPED)
      LoadDirectStriped<X * Y * Z>(RowMajorTid(X, Y, Z), from, items);
    else
      LoadDirectBlocked(RowMajorTid(X, Y, Z), from, items);
  }
  template <class I> P2P_CUB void Load(I from, T (&items)[N], int valid) {
    if (A == BLOCK_LOAD_STRIPED)
      LoadDirectStriped<X * Y * Z>(RowMajorTid(X, Y, Z), from, items, valid);
    else
      LoadDirectBlocked(RowMajorTid(X, Y, Z), from, items, valid);
  }
  template <class I, class D> P2P_CUB void Load(I from, T (&items)[N], int valid, D otherwise) {
#pragma unroll
    for (int i = 0; i < N; i++) items[i] = otherwise;
    Load(from, items, valid);
  }
};
template <class T, int X, int N, BlockStoreAlgorithm A = BLOCK_STORE_DIRECT, int Y = 1, int Z = 1, int L = 0>
struct BlockStore {
  typedef P2PNothing TempStorage;
  P2P_CUB BlockStore() {}
  P2P_CUB explicit BlockStore(TempStorage &) {}
  template <class I> P2P_CUB void Store(I to, T (&items)[N]) {
    if (A == BLOCK_STORE_STRIPED)
      StoreDirectStriped<X * Y * Z>(RowMajorTid(X, Y, Z), to, items);
    else
      StoreDirectBlocked(RowMajorTid(X, Y, Z), to, items);
  }
  template <class I> P2P_CUB void Store(I to, T (&items)[N], int valid) {
    if (A == BLOCK_STORE_STRIPED)
      StoreDirectStriped<X * Y * Z>(RowMajorTid(X, Y, Z), to, items, valid);
    else
      StoreDirectBlocked(RowMajorTid(X, Y, Z), to, items, valid);
  }
};
// Items of a group change threads: blocked (N neighbours each) or striped (every SIZE-th).
template <class T, class G, int N> struct P2PExchange {
  typedef P2PRoom<T, G::SIZE * N> TempStorage;
  TempStorage &room;
  P2P_CUB explicit P2PExchange(TempStorage &t) : room(t) {}
  template <class U> P2P_CUB void StripedToBlocked(const T (&in)[N], U (&out)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) room[G::rank() + i * G::SIZE] = in[i];
    take(out, N, 1);
  }
  template <class U> P2P_CUB void BlockedToStriped(const T (&in)[N], U (&out)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) room[G::rank() * N + i] = in[i];
    take(out, 1, G::SIZE);
  }
  template <class U, class R> P2P_CUB void ScatterToBlocked(const T (&in)[N], U (&out)[N], R (&ranks)[N]) {
    put(in, ranks);
    take(out, N, 1);
  }
  template <class U, class R> P2P_CUB void ScatterToStriped(const T (&in)[N], U (&out)[N], R (&ranks)[N]) {
    put(in, ranks);
    take(out, 1, G::SIZE);
  }
  P2P_CUB void StripedToBlocked(T (&items)[N]) { StripedToBlocked(items, items); }
  P2P_CUB void BlockedToStriped(T (&items)[N]) { BlockedToStriped(items, items); }
  template <class R> P2P_CUB void ScatterToBlocked(T (&items)[N], R (&ranks)[N]) { ScatterToBlocked(items, items, ranks); }
  template <class R> P2P_CUB void ScatterToStriped(T (&items)[N], R (&ranks)[N]) { ScatterToStriped(items, items, ranks); }

 private:
  template <class R> P2P_CUB void put(const T (&in)[N], R (&ranks)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) room[ranks[i]] = in[i];
  }
  template <class U> P2P_CUB void take(U (&out)[N], int by_rank, int by_item) {
    G::sync();
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = room[G::rank() * by_rank + i * by_item];
  }
};
template <class T, int X, int N, bool S = false, int Y = 1, int Z = 1, int L = 0>
struct BlockExchange : P2PExchange<T, P2PBlock<X, Y, Z>, N> {
  using P2PExchange<T, P2PBlock<X, Y, Z>, N>::P2PExchange;
};
template <class T, int N, int W = 32, int L = 0> struct WarpExchange : P2PExchange<T, P2PWarp<W>, N> {
  using P2PExchange<T, P2PWarp<W>, N>::P2PExchange;
};
// Each item with its neighbour before or behind it; the ends stay as they are.
template <class T, int X, int Y = 1, int Z = 1, int L = 0> struct BlockAdjacentDifference {
  typedef P2PBlock<X, Y, Z> G;
  typedef P2PRoom<T, G::SIZE> TempStorage;
  TempStorage &room;
  P2P_CUB explicit BlockAdjacentDifference(TempStorage &t) : room(t) {}
  template <int N, class U, class F> P2P_CUB void SubtractLeft(T (&in)[N], U (&out)[N], F op) {
    room[G::rank()] = in[N - 1];
    G::sync();
#pragma unroll
    for (int i = N - 1; i > 0; i--) out[i] = op(in[i], in[i - 1]);
    out[0] = G::rank() > 0 ? U(op(in[0], room[G::rank() - 1])) : U(in[0]);
  }
  template <int N, class U, class F> P2P_CUB void SubtractRight(T (&in)[N], U (&out)[N], F op) {
    room[G::rank()] = in[0];
    G::sync();
#pragma unroll
    for (int i = 0; i < N - 1; i++) out[i] = op(in[i], in[i + 1]);
    out[N - 1] = G::rank() < G::SIZE - 1 ? U(op(in[N - 1], room[G::rank() + 1])) : U(in[N - 1]);
  }
};
}  // namespace cub
#undef P2P_CUB
#endif
