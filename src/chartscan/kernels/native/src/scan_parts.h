// What the scan and its gradients share: typed views, scratch memory, and the layout of a group of channels.
//
// A group is LANES channels; [.][LANES] arrays hold a vector for each. A block is the groups of one task. Steps are
// walked in chunks of CHUNK, whose small arrays stay in the first-level cache.
#pragma once

#include <new>

#include "arguments.h"
#include "threads.h"

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int64_t CHUNK = CHECKPOINT_STEPS;
constexpr float LN_2 = 0.693147180559945309417f;

// Steps of more than this many units of the fastest decay are taken as this many, so that exp2_product stays within
// its range. Far beyond any step that a model takes: slower states and the gradients want the step as it is.
constexpr float LARGEST_EXPONENT = 0x1p60f;

CHARTSCAN_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
CHARTSCAN_INLINE int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

template <class T> CHARTSCAN_INLINE T* pointer(int64_t address) { return reinterpret_cast<T*>(address); }

// A (B, L, .) tensor; data is null where the tensor is absent.
template <class T> struct View {
    T* data;
    int64_t row, step;

    explicit View(const Strided& s) : data(reinterpret_cast<T*>(s.data)), row(s.row), step(s.step) {}
    T* at(int64_t b, int64_t l) const { return data + b * row + l * step; }
};

// Scratch memory, not set to anything.
struct Floats {
    float* data;

    explicit Floats(int64_t count)
        : data(static_cast<float*>(
              ::operator new(static_cast<size_t>(count) * sizeof(float), std::align_val_t(64)))) {}
    ~Floats() { ::operator delete(data, std::align_val_t(64)); }
    Floats(const Floats&) = delete;
    Floats& operator=(const Floats&) = delete;
};

// Hands out parts of one scratch memory, each a whole number of cache lines.
struct Parts {
    float* next;

    float* take(int64_t count) {
        float* part = next;
        next += parts(count, 16) * 16;
        return part;
    }
};

// The states to give of one row: [at, end) of the sorted lists.
struct Reads {
    const int64_t *positions, *places;
    int64_t at, end;

    Reads(const ScanInputs& in, int64_t b)
        : positions(pointer<const int64_t>(in.read_positions)), places(pointer<const int64_t>(in.read_places)) {
        const int64_t* offsets = pointer<const int64_t>(in.read_offsets);
        at = offsets ? offsets[b] : 0;
        end = offsets ? offsets[b + 1] : 0;
    }
    // Takes those from `position` on away and gives them.
    Reads split(int64_t position) {
        Reads later = *this;
        for (; end > at && positions[end - 1] >= position;) --end;
        later.at = end;
        return later;
    }
    bool reads(int64_t position) const { return at < end && positions[at] == position; }
};

CHARTSCAN_INLINE int64_t row_length(const ScanInputs& in, int64_t b) {
    return in.lengths ? pointer<const int64_t>(in.lengths)[b] : in.length;
}

// Rows lie a power of two apart as often as not, so a chunk's lines share few sets of the first-level cache: they are
// fetched into the second level, and never count as a fault when the address is outside the tensor.
CHARTSCAN_INLINE void prefetch(const void* p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 2);
#else
    (void)p;
#endif
}

// A line of each step of a tensor, to be fetched while other work goes on.
struct Ahead {
    const char* data;
    int64_t step;

    CHARTSCAN_MEMBER void fetch(int64_t s) const { prefetch(data + s * step); }
};

template <class T> CHARTSCAN_INLINE Ahead ahead(const View<T>& of, int64_t b, int64_t l, int64_t e) {
    return {of.data ? reinterpret_cast<const char*>(of.at(b, l) + e) : nullptr, of.step * int64_t(sizeof(T))};
}

template <class T> CHARTSCAN_INLINE V load_lanes(const T* p, int64_t lanes) {
    return lanes == LANES ? load(p) : load_part(p, lanes);
}

template <class T> CHARTSCAN_INLINE void store_lanes(T* p, V a, int64_t lanes) {
    if (lanes == LANES)
        store(p, a);
    else
        store_part(p, a, lanes);
}

CHARTSCAN_INLINE V load_or_zero(const float* p, int64_t lanes) { return p ? load_lanes(p, lanes) : zero(); }

CHARTSCAN_INLINE void fill_zero(float* p, int64_t count) {
    for (int64_t i = 0; i < count; ++i) p[i] = 0.0f;
}

// to[n * stride + lane] = scale from[lane][n] for the `lanes` first channels of a group, 0 for the others and where
// from is null.
static inline void to_lanes(float* to, int64_t stride, const float* from, int64_t lanes, int64_t states, float scale) {
    for (int64_t n = 0; n < states; ++n) store(to + n * stride, zero());
    if (from)
        for (int64_t lane = 0; lane < lanes; ++lane)
            for (int64_t n = 0; n < states; ++n) to[n * stride + lane] = scale * from[lane * states + n];
}

// The opposite.
static inline void from_lanes(float* to, const float* from, int64_t stride, int64_t lanes, int64_t states) {
    for (int64_t lane = 0; lane < lanes; ++lane)
        for (int64_t n = 0; n < states; ++n) to[lane * states + n] = from[n * stride + lane];
}

// B and C of steps l, l + 1, ... of a row, in float32: to (steps, 2, N).
template <class T>
CHARTSCAN_APART static void gather_steps(float* to, const ScanInputs& in, int64_t b, int64_t l, int64_t steps,
                                       int64_t ahead) {
    const View<const T> B(in.B), C(in.C);
    const int64_t N = in.states;
    for (int64_t s = 0; s < steps; ++s)
        for (const View<const T>* from : {&B, &C}) {
            prefetch(from->at(b, l + s + ahead));
            for (int64_t n = 0; n < N; n += LANES)
                store_lanes(to + n, load_lanes(from->at(b, l + s) + n, least(LANES, N - n)), least(LANES, N - n));
            to += N;
        }
}

// Zeros at `channels` channels of the steps from l to the end of a row.
template <class T>
static inline void zero_steps(const View<T>& to, int64_t b, int64_t l, int64_t length, int64_t e, int64_t channels) {
    for (; l < length; ++l)
        for (int64_t i = 0; i < channels; i += LANES)
            store_lanes(to.at(b, l) + e + i, zero(), least(LANES, channels - i));
}

// Per channel, the largest step for which every exponent of its decays is within LARGEST_EXPONENT.
CHARTSCAN_INLINE V step_limits(const float* A, int64_t stride, int64_t states) {
    V fastest = zero();
    for (int64_t n = 0; n < states; ++n) fastest = max(fastest, negative(minus_size(load(A + n * stride))));
    return div(set1(LARGEST_EXPONENT), fastest);
}

// Where the state of the group at channel e before chunk c of row b is kept: N vectors, `stride` floats apart.
// Layout (B, chunks, E / 16, N, 16), whatever LANES.
struct Checkpoint {
    float* data;
    static constexpr int64_t stride = CHECKPOINT_CHANNELS;

    Checkpoint(const ScanInputs& in, int64_t address, int64_t b, int64_t c, int64_t e) {
        const int64_t chunks = parts(in.length, CHUNK), groups = parts(in.channels, CHECKPOINT_CHANNELS);
        const int64_t group = (b * chunks + c) * groups + e / CHECKPOINT_CHANNELS;
        data = pointer<float>(address) + group * in.states * stride + e % CHECKPOINT_CHANNELS;
    }
};

// The lines of the state before the chunk at step l; nothing where none are kept.
CHARTSCAN_INLINE Ahead ahead(const ScanInputs& in, int64_t address, int64_t b, int64_t l, int64_t e) {
    if (!address) return {nullptr, 0};
    return {reinterpret_cast<const char*>(Checkpoint(in, address, b, l / CHUNK, e).data), 4 * Checkpoint::stride};
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
