// <stdio.h>, <cstdio>: printf goes to the log of the job.
#pragma once
#ifndef NULL
#define NULL 0
#endif
extern "C" __device__ int printf(const char *, ...);
