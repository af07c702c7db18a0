// <stdio.h>, <cstdio>: a kernel that runs on someone else's machine has no console, so printf does nothing.
#ifndef P2P_STDIO_H
#define P2P_STDIO_H
#ifndef NULL
#define NULL 0
#endif
#define printf(...) ((void)0)
#endif
