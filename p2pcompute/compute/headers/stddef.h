// <stddef.h>, <cstddef>, <stdlib.h>, <cstdlib>, <string.h>, <cstring>: what of them a kernel can use is built in.
#pragma once
#ifndef NULL
#define NULL 0
#endif
