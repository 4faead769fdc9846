// Exponential, softplus, sigmoid and SiLU of a vector; relative errors of a few 1e-7.
#pragma once

namespace chartscan {
namespace CHARTSCAN_ISA {

// 1.5 2^23: adding it to a number below 2^22 in size leaves that number, rounded, in the low bits of the sum.
// Reassociation by the compiler (-ffast-math) would remove the rounding: these files must be built without it.
constexpr float MAGIC = 12582912.0f;
constexpr float LOG2_E = 1.44269504088896340736f;

CHARTSCAN_INLINE V held(V x, float low, float high) { return min(set1(high), max(set1(low), x)); }

// 2^(a b) for |a b| up to 2^60; beyond the floats 0 (or about 1e-38) and infinity (or about 1e38).
//
// With n the whole part and f = a b - n in [-0.5, 0.5]: 2^n (1 + f q(f)), q of degree 4 interpolating (2^f - 1) / f at
// the Chebyshev nodes. The leading 1 is exact, and 0 is a node, so that 1 - 2^f has a small relative error for
// small f: a decay near 1 acts over thousands of steps, where an error of 1e-7 of the decay itself would add up.
#if defined(CHARTSCAN_SIXTEENTHS)

// Instead with n a multiple of 1/16, its power of two partly from a table and f in [-1/32, 1/32], q of degree 2: the
// scan is bound by the multiplications. For |a b| >= 2^18 the table's part is arbitrary, the result 0 or infinity.
CHARTSCAN_INLINE V exp2_product(V a, V b) {
    const V shifted = fma(a, b, set1(MAGIC / 16));
    const V n = sub(shifted, set1(MAGIC / 16));
    const V f = fms(a, b, n);
    V p = fma(f, set1(0.0555050853f), set1(0.2402335516f));
    p = fma(p, f, set1(0.6931471806f));
    const V part = power_of_sixteenths(shifted);
    return times_power(fma(part, mul(p, f), part), n, shifted);
}

#else

CHARTSCAN_INLINE V exp2_product(V a, V b) {
    const V product = held(mul(a, b), -125.0f, 127.0f);
    const V shifted = add(product, set1(MAGIC));
    const V n = sub(shifted, set1(MAGIC));
    const V f = sub(product, n);
    V p = fma(f, set1(0.0013381302f), set1(0.0096663684f));
    p = fma(p, f, set1(0.0555038117f));
    p = fma(p, f, set1(0.2402234972f));
    p = fma(p, f, set1(0.6931471825f));
    p = fma(p, f, set1(1.0f));
    return times_power(p, n, shifted);
}

#endif

CHARTSCAN_INLINE V exp2(V x) { return exp2_product(held(x, -127.0f, 128.0f), set1(1.0f)); }
CHARTSCAN_INLINE V exp(V x) { return exp2_product(held(x, -88.0f, 88.7f), set1(LOG2_E)); }

CHARTSCAN_INLINE V negative(V x) { return sub(zero(), x); }
CHARTSCAN_INLINE V minus_size(V x) { return min(x, negative(x)); } // -|x|

CHARTSCAN_INLINE V sigmoid(V x) { return div(set1(1.0f), add(set1(1.0f), exp(negative(x)))); }
CHARTSCAN_INLINE V silu(V x) { return mul(x, sigmoid(x)); }

// log(1 + u) for u in [0, 1]: 2 artanh(s), s = u / (2 + u); polynomial in s^2 at the Chebyshev nodes of [0, 1/9].
CHARTSCAN_INLINE V log1p_unit(V u) {
    const V s = div(u, add(u, set1(2.0f)));
    const V w = mul(s, s);
    V p = fma(w, set1(0.2815777957f), set1(0.2796515822f));
    p = fma(p, w, set1(0.4002459645f));
    p = fma(p, w, set1(0.6666632295f));
    p = fma(p, w, set1(2.0f));
    return mul(p, s);
}

// log(1 + e^x) without overflow, and without loss for very negative x.
CHARTSCAN_INLINE V softplus(V x) { return add(max(zero(), x), log1p_unit(exp(minus_size(x)))); }

// Softplus and its slope, the sigmoid, from one exponential.
CHARTSCAN_INLINE V softplus(V x, V* slope) {
    const V u = exp(minus_size(x)), open = div(set1(1.0f), add(u, set1(1.0f)));
    *slope = select_negative(x, mul(u, open), open);
    return add(max(zero(), x), log1p_unit(u));
}

CHARTSCAN_INLINE float sum(V a) {
    float lanes[LANES];
    store(lanes, a);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    return lanes[0];
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
