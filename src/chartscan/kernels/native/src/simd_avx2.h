// Eight floats: AVX2 and FMA.
#pragma once

#include <immintrin.h>

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int LANES = 8;
constexpr int REGISTERS = 16;

struct V {
    __m256 v;
};

alignas(32) static const int32_t FIRST[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

CHARTSCAN_INLINE __m256i first(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(FIRST + 8 - n));
}

CHARTSCAN_INLINE __m256 widen(__m128i half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

// To nearest, ties to even; a NaN stays one.
CHARTSCAN_INLINE __m128i narrow(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i kept = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan);
    const __m256i high = _mm256_srli_epi32(kept, 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

CHARTSCAN_INLINE V set1(float x) { return {_mm256_set1_ps(x)}; }
CHARTSCAN_INLINE V zero() { return {_mm256_setzero_ps()}; }

CHARTSCAN_INLINE V load(const float* p) { return {_mm256_loadu_ps(p)}; }
CHARTSCAN_INLINE V load(const bf16* p) { return {widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
CHARTSCAN_INLINE V load_part(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first(n))}; }
CHARTSCAN_INLINE V load_part(const bf16* p, int64_t n) {
    bf16 whole[8] = {};
    for (int64_t i = 0; i < n; ++i) whole[i] = p[i];
    return load(whole);
}

CHARTSCAN_INLINE void store(float* p, V a) { _mm256_storeu_ps(p, a.v); }
CHARTSCAN_INLINE void store(bf16* p, V a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(a.v)); }
CHARTSCAN_INLINE void store_part(float* p, V a, int64_t n) { _mm256_maskstore_ps(p, first(n), a.v); }
CHARTSCAN_INLINE void store_part(bf16* p, V a, int64_t n) {
    bf16 whole[8];
    store(whole, a);
    for (int64_t i = 0; i < n; ++i) p[i] = whole[i];
}

CHARTSCAN_INLINE V add(V a, V b) { return {_mm256_add_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V sub(V a, V b) { return {_mm256_sub_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V mul(V a, V b) { return {_mm256_mul_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V div(V a, V b) { return {_mm256_div_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }   // a b + c
CHARTSCAN_INLINE V fms(V a, V b, V c) { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }   // a b - c
CHARTSCAN_INLINE V fnma(V a, V b, V c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; } // c - a b

// Of a NaN and a number, the second argument is given.
CHARTSCAN_INLINE V min(V a, V b) { return {_mm256_min_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V max(V a, V b) { return {_mm256_max_ps(a.v, b.v)}; }

// `yes` where the sign bit of `a` is set, else `no`.
CHARTSCAN_INLINE V select_negative(V a, V yes, V no) { return {_mm256_blendv_ps(no.v, yes.v, a.v)}; }

// p 2^n for p in [0.7, 1.5], n = shifted - magic a whole number from -125 to 127.
CHARTSCAN_INLINE V times_power(V p, V, V shifted) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted.v), 23);
    return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.v), exponent))};
}

// out[i] = the sum of the lanes of vectors[i], for LANES vectors, in an order that never changes.
CHARTSCAN_INLINE void sum_each(const float* vectors, float* out) {
    __m256 v[8];
    CHARTSCAN_UNROLL for (int i = 0; i < 8; ++i) v[i] = _mm256_loadu_ps(vectors + 8 * i);
    const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)));
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
