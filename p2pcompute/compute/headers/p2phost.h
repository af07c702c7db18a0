// What nvcc lets every .cu file see without an #include. Included before sources that were prepared.
#ifndef P2PHOST_H
#define P2PHOST_H
#define __linux__ 1
#define __unix__ 1
#define __x86_64__ 1
#define _POSIX_VERSION 200809L
#include "p2pmath.h"
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#define __const const
#define __const__ const
#define __signed__ signed

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
#endif
