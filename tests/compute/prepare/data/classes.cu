// kernels: distance
#include <cmath>
#include <iostream>
#include <string>

#if !defined(__linux__) && !defined(_WIN32)
#error Unsupported system
#endif

#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif

template <class T>
struct Point {
  T x, y;
  HD Point() : x(0), y{0} {}
  HD Point(T x_, T y_) : x{x_}, y(y_) {}
  HD Point operator-(const Point &o) const { return Point(x - o.x, y - o.y); }
  HD T length() const;
  void print() const { std::cout << x << "," << y << std::endl; }
  friend std::ostream &operator<<(std::ostream &out, const Point &p) { return out << p.x; }
  friend class Unknown;
  std::string text() const { return std::to_string(x); }
};

template <class T>
HD T Point<T>::length() const {
  return std::sqrt(x * x + y * y);
}

typedef struct Pair {
  Point<float> a, b;
} Pair;

std::ostream &operator<<(std::ostream &out, const Pair &p) { return out << p.a.x; }

__global__ void distance(const Pair *p, float *d) { d[threadIdx.x] = (p[threadIdx.x].a - p[threadIdx.x].b).length(); }
