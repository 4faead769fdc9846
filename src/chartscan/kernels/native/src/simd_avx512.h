// Sixteen floats: AVX-512 F, BW, DQ, VL.
#pragma once

// GCC 12 takes the deliberately unset registers of its own header for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int LANES = 16;
constexpr int REGISTERS = 32;

struct V {
    __m512 v;
};

CHARTSCAN_INLINE __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

CHARTSCAN_INLINE __m512 widen(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// To nearest, ties to even; a NaN stays one.
CHARTSCAN_INLINE __m256i narrow(__m512 v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
}

CHARTSCAN_INLINE V set1(float x) { return {_mm512_set1_ps(x)}; }
CHARTSCAN_INLINE V zero() { return {_mm512_setzero_ps()}; }

CHARTSCAN_INLINE V load(const float* p) { return {_mm512_loadu_ps(p)}; }
CHARTSCAN_INLINE V load(const bf16* p) { return {widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
CHARTSCAN_INLINE V load_part(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
CHARTSCAN_INLINE V load_part(const bf16* p, int64_t n) { return {widen(_mm256_maskz_loadu_epi16(first(n), p))}; }

CHARTSCAN_INLINE void store(float* p, V a) { _mm512_storeu_ps(p, a.v); }
CHARTSCAN_INLINE void store(bf16* p, V a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a.v)); }
CHARTSCAN_INLINE void store_part(float* p, V a, int64_t n) { _mm512_mask_storeu_ps(p, first(n), a.v); }
CHARTSCAN_INLINE void store_part(bf16* p, V a, int64_t n) { _mm256_mask_storeu_epi16(p, first(n), narrow(a.v)); }

CHARTSCAN_INLINE V add(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V sub(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V mul(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V div(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }   // a b + c
CHARTSCAN_INLINE V fms(V a, V b, V c) { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }   // a b - c
CHARTSCAN_INLINE V fnma(V a, V b, V c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; } // c - a b

// Of a NaN and a number, the second argument is given.
CHARTSCAN_INLINE V min(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
CHARTSCAN_INLINE V max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }

// `yes` where the sign bit of `a` is set, else `no`.
CHARTSCAN_INLINE V select_negative(V a, V yes, V no) {
    return {_mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(a.v)), no.v, yes.v)};
}

// p 2^n, n rounded down to a whole number; 0 or infinity beyond floats.
CHARTSCAN_INLINE V times_power(V p, V n, V) { return {_mm512_scalef_ps(p.v, n.v)}; }

// 2^(i / 16), i the low four bits of each lane: one shuffle that shortens the polynomial of exp2_product.
#define CHARTSCAN_SIXTEENTHS 1
CHARTSCAN_INLINE V power_of_sixteenths(V bits) {
    const __m512 powers = _mm512_setr_ps(
        1.0f, 1.0442737824f, 1.0905077327f, 1.1387886348f, 1.1892071150f, 1.2418578121f, 1.2968395547f, 1.3542555469f,
        1.4142135624f, 1.4768261459f, 1.5422108254f, 1.6104903319f, 1.6817928305f, 1.7562521604f, 1.8340080864f,
        1.9152065614f);
    return {_mm512_permutexvar_ps(_mm512_castps_si512(bits.v), powers)};
}

// out[i] = the sum of the lanes of vectors[i], for LANES vectors, in an order that never changes.
CHARTSCAN_INLINE void sum_each(const float* vectors, float* out) {
    __m512 v[16];
    CHARTSCAN_UNROLL for (int i = 0; i < 16; ++i) v[i] = _mm512_loadu_ps(vectors + 16 * i);
    // 128-bit halves first, so that one vector holds the four quarters' sums of four vectors
    CHARTSCAN_UNROLL for (int i = 0; i < 4; ++i) {
        const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[4 * i], v[4 * i + 1]),
                                       _mm512_unpackhi_ps(v[4 * i], v[4 * i + 1]));
        const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[4 * i + 2], v[4 * i + 3]),
                                       _mm512_unpackhi_ps(v[4 * i + 2], v[4 * i + 3]));
        v[i] = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    }
    const __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x88), _mm512_shuffle_f32x4(v[0], v[1], 0xdd));
    const __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x88), _mm512_shuffle_f32x4(v[2], v[3], 0xdd));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd)));
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
