// One step of R sequences through a whole stack of Mamba blocks, in one call.
//
// Few rows: the time goes into reading the weights, once, as PyTorch keeps them. Many rows: tiles of rows, each
// of which goes through all blocks by itself, so threads meet only at the end. Nothing derived from a weight
// outlives the call. A row's result depends neither on the other rows nor on the number of threads.
// Gu and Dao 2023, arXiv:2312.00752.
#pragma once

#include "arguments.h"
#include "simd.h"
#include "small_gemm.h"
#include "threads.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

namespace chartscan {
namespace CHARTSCAN_ISA {
namespace step {

constexpr int64_t ROWS_A_TILE = 32; // their intermediate results stay in the second-level cache
constexpr int64_t ROWS_A_THREAD = 4; // fewer wait for the weights, which each thread reads for itself
constexpr float NORM_EPS = 1e-5f;

// f(i, n) for i = 0, LANES, ... below `count`, with the n <= LANES elements there are from i on.
template <class F>
inline void over_lanes(int64_t count, const F& f) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) f(i, LANES);
    if (i < count) f(i, static_cast<int>(count - i));
}

inline V take(const float* p, int n) { return n == LANES ? load(p) : load_part(p, n); }

inline void put(float* p, V v, int n) {
    if (n == LANES) store(p, v);
    else store_part(p, v, n);
}

inline float* floats(int64_t pointer) { return reinterpret_cast<float*>(pointer); }

// Working space for up to `rows` rows, reused from block to block.
class StepSpace {
public:
    StepSpace(const StackStep& s, int64_t rows)
        : memory_(new float[rows * (2 * s.width + 4 * s.channels + low_width(s)) + s.channels * (s.states + s.taps)]) {
        float* next = memory_.get();
        const auto matrix = [&](int64_t width) {
            const Matrix m = {next, width};
            next += rows * width;
            return m;
        };
        stream = matrix(s.width);
        normed = matrix(s.width);
        xz = matrix(2 * s.channels);
        u = matrix(s.channels);
        y = matrix(s.channels);
        low = matrix(low_width(s));
        rates = next;
        taps = rates + s.channels * s.states;
    }

    Matrix stream, normed; // (R, D): residual stream; its norm, later what a block adds to it
    Matrix xz, u;          // (R, 2E), (R, E): joint projection; input of the scan
    Matrix y;              // (R, E): step sizes before their bias, then output of the scan
    Matrix low;            // (R, rank + 2N): low-rank step size, B, C
    float* rates;          // (E, N): A log2(e)
    float* taps;           // (K, E): weights of the convolution

private:
    static int64_t low_width(const StackStep& s) { return s.rank + 2 * s.states; }

    std::unique_ptr<float[]> memory_;
};

// x / sqrt(mean(x^2) + eps) * weight
inline void rms_norm(const float* x, const float* weight, int64_t width, float* y) {
    V squares = zero();
    over_lanes(width, [&](int64_t i, int n) {
        const V v = take(x + i, n);
        squares = fma(v, v, squares);
    });
    const V scale = set1(1 / std::sqrt(sum(squares) / width + NORM_EPS));
    over_lanes(width, [&](int64_t i, int n) { put(y + i, mul(mul(take(x + i, n), scale), take(weight + i, n)), n); });
}

// rates = A log2(e) with A = -exp(A_log), so that exp(dt A) = exp2(dt rates).
inline void step_rates(const float* A_log, int64_t count, float* rates) {
    over_lanes(count, [&](int64_t i, int n) { put(rates + i, mul(exp(take(A_log + i, n)), set1(-LOG2_E)), n); });
}

inline void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
}

// The window moves on by x; u = silu(conv(window, x)). `before` and `after` (K - 1, E) may be the same memory.
inline void step_conv(
    const StackStep& s, const float* x, const float* taps, const float* bias, const float* before,
    float* after, float* u) {
    const int64_t E = s.channels, last = s.taps - 1;
    over_lanes(E, [&](int64_t e, int n) {
        V total = take(bias + e, n);
        for (int64_t k = 0; k < last; k++) {
            const V input = take(before + k * E + e, n);
            total = fma(input, take(taps + k * E + e, n), total);
            if (k > 0) put(after + (k - 1) * E + e, input, n);
        }
        const V input = take(x + e, n);
        total = fma(input, take(taps + last * E + e, n), total);
        if (last > 0) put(after + (last - 1) * E + e, input, n);
        put(u + e, silu(total), n);
    });
}

// h = exp(dt A) h + dt u B for the N states of one channel; the lanes of the result add up to C . h.
inline V step_channel(
    int64_t states, float dt, float dt_u, const float* rates, const float* B, const float* C, const float* before,
    float* after) {
    V y = zero();
    over_lanes(states, [&](int64_t i, int n) {
        const V decay = exp2(mul(set1(dt), take(rates + i, n)));
        const V h = fma(decay, take(before + i, n), mul(set1(dt_u), take(B + i, n)));
        put(after + i, h, n);
        y = fma(take(C + i, n), h, y);
    });
    return y;
}

// y = (C . h + D u) silu(z) for one row; y holds dt before. `before` and `after` (E, N) may be the same memory.
inline void step_scan(
    const StackStep& s, const BlockPointers& block, const float* rates, const float* u, const float* B, const float* z,
    const float* before, float* after, float* y) {
    const int64_t N = s.states;
    over_lanes(s.channels, [&](int64_t e, int n) {
        const V x = take(u + e, n);
        const V delta = softplus(add(take(y + e, n), take(floats(block.dt_bias) + e, n)));
        float dt[LANES], dt_u[LANES];
        store(dt, delta);
        store(dt_u, mul(delta, x));
        float lanes[LANES * LANES] = {}, read[LANES];
        for (int i = 0; i < n; i++) {
            const int64_t at = (e + i) * N;
            store(lanes + i * LANES, step_channel(N, dt[i], dt_u[i], rates + at, B, B + N, before + at, after + at));
        }
        sum_each(lanes, read);
        const V ungated = fma(take(floats(block.D) + e, n), x, load(read));
        put(y + e, mul(ungated, silu(take(z + e, n))), n);
    });
}

// One block for rows `first` to `first + rows`: adds to the residual stream in `space`.
inline void step_block(
    const StackStep& s, const BlockPointers& block, int64_t first, int64_t rows, const StepSpace& space) {
    const int64_t D = s.width, E = s.channels, N = s.states, window = (s.taps - 1) * E, state = E * N;
    step_rates(floats(block.A_log), E * N, space.rates);
    transpose(floats(block.conv_weight), E, s.taps, space.taps);
    for (int64_t r = 0; r < rows; r++) rms_norm(space.stream.row(r), floats(block.norm), D, space.normed.row(r));
    product(space.normed, rows, floats(block.in_proj), D, 0, 2 * E, space.xz);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = (first + r) * window;
        step_conv(s, space.xz.row(r), space.taps, floats(block.conv_bias), floats(block.window) + at,
                  floats(block.window_after) + at, space.u.row(r));
    }
    product(space.u, rows, floats(block.x_proj), E, 0, s.rank + 2 * N, space.low);
    product(space.low, rows, floats(block.dt_proj), s.rank, 0, E, space.y);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = (first + r) * state;
        step_scan(s, block, space.rates, space.u.row(r), space.low.row(r) + s.rank, space.xz.row(r) + E,
                  floats(block.scan) + at, floats(block.scan_after) + at, space.y.row(r));
    }
    product(space.y, rows, floats(block.out_proj), E, 0, D, space.normed);
    for (int64_t r = 0; r < rows; r++) {
        float *sum = space.stream.row(r), *more = space.normed.row(r);
        over_lanes(D, [&](int64_t i, int n) { put(sum + i, add(take(sum + i, n), take(more + i, n)), n); });
    }
}

} // namespace step

inline void stack_step(const StackStep& s) {
    using namespace step;
    const BlockPointers* table = reinterpret_cast<const BlockPointers*>(s.table);
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, s.rows / ROWS_A_THREAD));
    const int64_t share = (s.rows + threads - 1) / threads;
    const int64_t rows_a_tile = std::max<int64_t>(1, std::min(ROWS_A_TILE, (share + 3) / 4 * 4));
    parallel_for((s.rows + rows_a_tile - 1) / rows_a_tile, threads, [&](int64_t tile) {
        const int64_t first = tile * rows_a_tile, rows = std::min(rows_a_tile, s.rows - first);
        const StepSpace space(s, rows);
        std::copy_n(floats(s.x) + first * s.width, rows * s.width, space.stream.data);
        for (int64_t b = 0; b < s.blocks; b++) step_block(s, table[b], first, rows, space);
        std::copy_n(space.stream.data, rows * s.width, floats(s.y) + first * s.width);
    });
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
