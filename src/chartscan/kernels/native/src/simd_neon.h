// Four floats: 64-bit ARM.
#pragma once

#include <arm_neon.h>

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int LANES = 4;
constexpr int REGISTERS = 32;

struct V {
    float32x4_t v;
};

// To nearest, ties to even; a NaN stays one.
CHARTSCAN_INLINE uint16x4_t narrow(float32x4_t v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), rounded, vdupq_n_u32(0x7fc00000)), 16);
}

CHARTSCAN_INLINE V set1(float x) { return {vdupq_n_f32(x)}; }
CHARTSCAN_INLINE V zero() { return {vdupq_n_f32(0.0f)}; }

CHARTSCAN_INLINE V load(const float* p) { return {vld1q_f32(p)}; }
CHARTSCAN_INLINE V load(const bf16* p) {
    return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16))};
}
CHARTSCAN_INLINE void store(float* p, V a) { vst1q_f32(p, a.v); }
CHARTSCAN_INLINE void store(bf16* p, V a) { vst1_u16(reinterpret_cast<uint16_t*>(p), narrow(a.v)); }

template <class T> CHARTSCAN_INLINE V load_part(const T* p, int64_t n) {
    T whole[4] = {};
    for (int64_t i = 0; i < n; ++i) whole[i] = p[i];
    return load(whole);
}

template <class T> CHARTSCAN_INLINE void store_part(T* p, V a, int64_t n) {
    T whole[4];
    store(whole, a);
    for (int64_t i = 0; i < n; ++i) p[i] = whole[i];
}

CHARTSCAN_INLINE V add(V a, V b) { return {vaddq_f32(a.v, b.v)}; }
CHARTSCAN_INLINE V sub(V a, V b) { return {vsubq_f32(a.v, b.v)}; }
CHARTSCAN_INLINE V mul(V a, V b) { return {vmulq_f32(a.v, b.v)}; }
CHARTSCAN_INLINE V div(V a, V b) { return {vdivq_f32(a.v, b.v)}; }
CHARTSCAN_INLINE V fma(V a, V b, V c) { return {vfmaq_f32(c.v, a.v, b.v)}; }             // a b + c
CHARTSCAN_INLINE V fms(V a, V b, V c) { return {vfmaq_f32(vnegq_f32(c.v), a.v, b.v)}; }  // a b - c
CHARTSCAN_INLINE V fnma(V a, V b, V c) { return {vfmsq_f32(c.v, a.v, b.v)}; }            // c - a b

// A NaN is given where either is one.
CHARTSCAN_INLINE V min(V a, V b) { return {vminq_f32(a.v, b.v)}; }
CHARTSCAN_INLINE V max(V a, V b) { return {vmaxq_f32(a.v, b.v)}; }

// `yes` where the sign bit of `a` is set, else `no`.
CHARTSCAN_INLINE V select_negative(V a, V yes, V no) {
    return {vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(a.v)), yes.v, no.v)};
}

// p 2^n for p in [0.7, 1.5], n = shifted - magic a whole number from -125 to 127.
CHARTSCAN_INLINE V times_power(V p, V, V shifted) {
    const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(shifted.v), 23);
    return {vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p.v), exponent))};
}

// out[i] = the sum of the lanes of vectors[i], for LANES vectors, in an order that never changes.
CHARTSCAN_INLINE void sum_each(const float* vectors, float* out) {
    const float32x4_t a = vpaddq_f32(vld1q_f32(vectors), vld1q_f32(vectors + 4));
    const float32x4_t b = vpaddq_f32(vld1q_f32(vectors + 8), vld1q_f32(vectors + 12));
    vst1q_f32(out, vpaddq_f32(a, b));
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
