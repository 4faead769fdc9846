// One vector of floats, in the words of whichever instruction set the including file asks for.
//
// Before including, a .cpp defines CHARTSCAN_ISA, the name of its namespace, and one of CHARTSCAN_AVX512,
// CHARTSCAN_AVX2, CHARTSCAN_NEON, CHARTSCAN_PORTABLE. Everything here and in the kernels lies in that namespace
// and is forced inline: the linker must never give code of one instruction set to another. Hence no inline
// functions of the standard library in these files either.
//
// Each simd_<set>.h gives V, LANES, load, load_part, store, store_part (of float and bf16), set1, zero, add, sub,
// mul, div, fma, fms, fnma, min, max, select_negative, times_power, sum_each, and power_of_sixteenths
// where CHARTSCAN_SIXTEENTHS is defined; simd_math.h the functions above.
#pragma once

#include "arguments.h"

#if defined(_MSC_VER)
#define CHARTSCAN_INLINE static __forceinline
#define CHARTSCAN_MEMBER __forceinline
#define CHARTSCAN_APART __declspec(noinline)
#else
#define CHARTSCAN_INLINE static inline __attribute__((always_inline))
#define CHARTSCAN_MEMBER inline __attribute__((always_inline))
#define CHARTSCAN_APART __attribute__((noinline)) // a loop compiled by itself is the faster one
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define CHARTSCAN_UNROLL _Pragma("GCC unroll 16")
#elif defined(__clang__)
#define CHARTSCAN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CHARTSCAN_UNROLL
#endif

#if defined(CHARTSCAN_AVX512)
#include "simd_avx512.h"
#elif defined(CHARTSCAN_AVX2)
#include "simd_avx2.h"
#elif defined(CHARTSCAN_NEON)
#include "simd_neon.h"
#elif defined(CHARTSCAN_PORTABLE)
#include "simd_portable.h"
#else
#error "define CHARTSCAN_AVX512, CHARTSCAN_AVX2, CHARTSCAN_NEON or CHARTSCAN_PORTABLE"
#endif

#include "simd_math.h"
