// <stddef.h>, <cstddef>, <stdlib.h>, <cstdlib>, <string.h>, <cstring>: what of them a kernel can use is built in.
#ifndef P2P_STDDEF_H
#define P2P_STDDEF_H
#ifndef NULL
#define NULL 0
#endif
#endif
