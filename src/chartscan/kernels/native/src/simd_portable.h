// Four floats in the compiler's own vectors (GCC, Clang), or in plain loops (others), for any machine.
#pragma once

#include <cstring>

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int LANES = 4;
constexpr int REGISTERS = 16;

#if defined(__GNUC__)
typedef float Floats4 __attribute__((vector_size(16)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
#define CHARTSCAN_LANES(LANE, WHOLE) return {WHOLE}
#else
struct Floats4 {
    float lane[4];
    float& operator[](int i) { return lane[i]; }
    float operator[](int i) const { return lane[i]; }
};
#define CHARTSCAN_LANES(LANE, WHOLE)                                                                                   \
    V r;                                                                                                               \
    for (int i = 0; i < LANES; ++i) r.v[i] = (LANE);                                                                   \
    return r
#endif

struct V {
    Floats4 v;
};

CHARTSCAN_INLINE float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

CHARTSCAN_INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

// To nearest, ties to even; a NaN stays one.
CHARTSCAN_INLINE uint16_t narrow(float x) {
    const uint32_t bits = bits_of(x);
    const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    return static_cast<uint16_t>((x == x ? rounded : 0x7fc00000u) >> 16);
}

CHARTSCAN_INLINE V load_part(const float* p, int64_t n) {
    V r;
    for (int i = 0; i < LANES; ++i) r.v[i] = i < n ? p[i] : 0.0f;
    return r;
}
CHARTSCAN_INLINE V load_part(const bf16* p, int64_t n) {
    V r;
    for (int i = 0; i < LANES; ++i) r.v[i] = i < n ? float_of(static_cast<uint32_t>(p[i].bits) << 16) : 0.0f;
    return r;
}
CHARTSCAN_INLINE void store_part(float* p, V a, int64_t n) {
    for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
CHARTSCAN_INLINE void store_part(bf16* p, V a, int64_t n) {
    for (int i = 0; i < n; ++i) p[i].bits = narrow(a.v[i]);
}

CHARTSCAN_INLINE V load(const float* p) {
    V r;
    std::memcpy(&r.v, p, sizeof r.v);
    return r;
}
CHARTSCAN_INLINE void store(float* p, V a) { std::memcpy(p, &a.v, sizeof a.v); }
CHARTSCAN_INLINE V load(const bf16* p) { return load_part(p, LANES); }
CHARTSCAN_INLINE void store(bf16* p, V a) { store_part(p, a, LANES); }

CHARTSCAN_INLINE V set1(float x) { return {Floats4{x, x, x, x}}; }
CHARTSCAN_INLINE V zero() { return set1(0.0f); }

CHARTSCAN_INLINE V add(V a, V b) { CHARTSCAN_LANES(a.v[i] + b.v[i], a.v + b.v); }
CHARTSCAN_INLINE V sub(V a, V b) { CHARTSCAN_LANES(a.v[i] - b.v[i], a.v - b.v); }
CHARTSCAN_INLINE V mul(V a, V b) { CHARTSCAN_LANES(a.v[i] * b.v[i], a.v* b.v); }
CHARTSCAN_INLINE V div(V a, V b) { CHARTSCAN_LANES(a.v[i] / b.v[i], a.v / b.v); }
CHARTSCAN_INLINE V fma(V a, V b, V c) { return add(mul(a, b), c); }  // a b + c
CHARTSCAN_INLINE V fms(V a, V b, V c) { return sub(mul(a, b), c); }  // a b - c
CHARTSCAN_INLINE V fnma(V a, V b, V c) { return sub(c, mul(a, b)); } // c - a b

// Of a NaN and a number, the second argument is given.
CHARTSCAN_INLINE V min(V a, V b) { CHARTSCAN_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i], a.v < b.v ? a.v : b.v); }
CHARTSCAN_INLINE V max(V a, V b) { CHARTSCAN_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i], a.v > b.v ? a.v : b.v); }

// `yes` where the sign bit of `a` is set, else `no`.
CHARTSCAN_INLINE V select_negative(V a, V yes, V no) {
    CHARTSCAN_LANES(bits_of(a.v[i]) >> 31 ? yes.v[i] : no.v[i], (Ints4)a.v < 0 ? yes.v : no.v);
}

// p 2^n for p in [0.7, 1.5], n = shifted - magic a whole number from -125 to 127.
CHARTSCAN_INLINE V times_power(V p, V, V shifted) {
    CHARTSCAN_LANES(float_of(bits_of(p.v[i]) + (bits_of(shifted.v[i]) << 23)),
                    (Floats4)((Ints4)p.v + ((Ints4)shifted.v << 23)));
}

// out[i] = the sum of the lanes of vectors[i], for LANES vectors, in an order that never changes.
CHARTSCAN_INLINE void sum_each(const float* vectors, float* out) {
    for (int i = 0; i < LANES; ++i) {
        const float* v = vectors + LANES * i;
        out[i] = (v[0] + v[2]) + (v[1] + v[3]);
    }
}

#undef CHARTSCAN_LANES

} // namespace CHARTSCAN_ISA
} // namespace chartscan
