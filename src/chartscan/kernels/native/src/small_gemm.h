// Products of few rows with a weight matrix as PyTorch keeps it, (out, in). No copy of the weights is made.
//
// An output is one chain of fused multiply-adds over its inputs, LANES of them side by side, whose lanes are
// added at the end as one fixed tree. It depends neither on the other rows nor on how outputs are tiled.
#pragma once

#include "simd.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace chartscan {
namespace CHARTSCAN_ISA {
namespace step {

struct Matrix { // rows of contiguous floats
    float* data;
    int64_t stride;

    float* row(int64_t r) const { return data + r * stride; }
};

inline void prefetch(const float* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

// ROWS rows of x times OUTS rows of w, of which only the first `outs` exist and are written.
template <int ROWS, int OUTS, bool ALL>
inline void product_tile(Matrix x, const float* w, int64_t inputs, int64_t outs, int64_t ahead, Matrix y) {
    static_assert(ROWS * OUTS % LANES == 0, "sums are made LANES at a time");
    V total[ROWS * OUTS];
    for (V& t : total) t = zero();
    const auto weights = [&](int j) { return w + (ALL ? j : std::min<int64_t>(j, outs - 1)) * inputs; };
    const auto add = [&](const V* a, V b, int j) {
        for (int r = 0; r < ROWS; r++) total[r * OUTS + j] = fma(a[r], b, total[r * OUTS + j]);
    };
    int64_t k = 0;
    V a[ROWS];
    for (; k + LANES <= inputs; k += LANES) {
        for (int r = 0; r < ROWS; r++) a[r] = load(x.row(r) + k);
        for (int j = 0; j < OUTS; j++) {
            if (ALL) prefetch(weights(j) + k + ahead);
            add(a, load(weights(j) + k), j);
        }
    }
    if (k < inputs) {
        const int rest = static_cast<int>(inputs - k);
        for (int r = 0; r < ROWS; r++) a[r] = load_part(x.row(r) + k, rest);
        for (int j = 0; j < OUTS; j++) add(a, load_part(weights(j) + k, rest), j);
    }
    float lanes[ROWS * OUTS * LANES], each[ROWS * OUTS];
    for (int i = 0; i < ROWS * OUTS; i++) store(lanes + i * LANES, total[i]);
    for (int i = 0; i < ROWS * OUTS; i += LANES) sum_each(lanes + i * LANES, each + i);
    for (int r = 0; r < ROWS; r++)
        std::memcpy(y.row(r), each + r * OUTS, (ALL ? OUTS : outs) * sizeof(float));
}

constexpr int OUTS_TOGETHER = LANES < 8 ? 8 : LANES; // rows of w that are read from far memory together

// As many rows as ROWS divides, from `first` on; returns the first row that is left.
template <int ROWS>
inline int64_t product_rows(
    Matrix x, int64_t first, int64_t rows, const float* w, int64_t inputs, int64_t outs, Matrix y) {
    constexpr int OUTS = OUTS_TOGETHER / ROWS < LANES / ROWS ? LANES / ROWS : OUTS_TOGETHER / ROWS;
    const int64_t ahead = OUTS_TOGETHER * inputs;
    int64_t r = first;
    for (; r + ROWS <= rows; r += ROWS) {
        const Matrix from = {x.row(r), x.stride};
        for (int64_t o = 0; o < outs; o += OUTS) {
            const Matrix to = {y.row(r) + o, y.stride};
            if (o + OUTS <= outs) product_tile<ROWS, OUTS, true>(from, w + o * inputs, inputs, OUTS, ahead, to);
            else product_tile<ROWS, OUTS, false>(from, w + o * inputs, inputs, outs - o, 0, to);
        }
    }
    return r;
}

// y = x w^T for outputs `first` to `last`: x (rows, inputs), w (outputs, inputs), y (rows, outputs).
inline void product(Matrix x, int64_t rows, const float* w, int64_t inputs, int64_t first, int64_t last, Matrix y) {
    for (int64_t o = first; o < last; o += OUTS_TOGETHER) {
        const int64_t outs = std::min<int64_t>(OUTS_TOGETHER, last - o);
        const Matrix to = {y.data + o, y.stride};
        int64_t r = 0;
        if constexpr (LANES == 16) r = product_rows<4>(x, r, rows, w + o * inputs, inputs, outs, to);
        r = product_rows<2>(x, r, rows, w + o * inputs, inputs, outs, to);
        product_rows<1>(x, r, rows, w + o * inputs, inputs, outs, to);
    }
}

} // namespace step
} // namespace CHARTSCAN_ISA
} // namespace chartscan
