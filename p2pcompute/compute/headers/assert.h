// <assert.h>, <cassert>: a failed assertion traps; the engine then names launch, block and thread.
#undef assert
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) ((condition) ? (void)0 : __trap())
#endif
