// <stdio.h>, <cstdio>: printf goes to the log of the job.
#ifndef P2P_STDIO_H
#define P2P_STDIO_H
#ifndef NULL
#define NULL 0
#endif
extern "C" __device__ int printf(const char *, ...);
#endif
