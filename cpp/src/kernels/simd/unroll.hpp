// Register arrays live in registers only if every loop over them is unrolled completely.
#pragma once

#if defined(__clang__)
#define REGARD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define REGARD_UNROLL _Pragma("GCC unroll 32")
#endif

// The innermost blocks are functions of their own: inlined into their callers, the callers' values
// take the registers that hold the row addresses, and they are reloaded in the loop.
#define REGARD_NOINLINE __attribute__((noinline))

// Code that waits for a function of the caller's, whatever its own speed: compiled for size.
#define REGARD_SMALL __attribute__((noinline, cold))
