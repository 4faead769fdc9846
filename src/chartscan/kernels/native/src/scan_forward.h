// Forward pass of the selective scan.
#pragma once

namespace chartscan {
namespace CHARTSCAN_ISA {

// Channels of a task. Each step's part of a row lies on pages of its own, so that narrow tasks visit every page of the
// tensors again and again, more pages than the TLB holds; but every thread should have several tasks.
constexpr int64_t FORWARD_CHANNELS = 256, FORWARD_CHANNELS_LEAST = 64, FORWARD_TASKS = 4;
constexpr int FORWARD_STATES = 16; // at a time

static inline int64_t forward_channels(const ScanInputs& in) {
    int64_t width = FORWARD_CHANNELS;
    while (width > FORWARD_CHANNELS_LEAST && in.batch * parts(in.channels, width) < FORWARD_TASKS * in.threads)
        width /= 2;
    return width;
}

// Of one group and step: the step's length, delta x, and y as far as it is summed, before the gate.
struct ForwardStep {
    float delta[LANES], input[LANES], y[LANES];
};

// One block of channels of one row. Arrays by group: A, h [N][LANES], limit [LANES]; of the chunk: BC [CHUNK][2][N].
template <class T> struct ForwardBlock {
    const ScanForward& args;
    const ScanInputs& in;
    int64_t b, channel, channels, N;
    View<const T> x, dt, z;
    View<T> y;
    Floats memory;
    float *A, *h, *limit, *BC;
    alignas(64) ForwardStep step[CHUNK];

    static int64_t floats(int64_t width, int64_t states) {
        return 2 * width * states + width + 2 * CHUNK * states + 4 * 16;
    }

    ForwardBlock(const ScanForward& args, int64_t b, int64_t channel, int64_t width)
        : args(args), in(args.in), b(b), channel(channel), channels(least(width, in.channels - channel)),
          N(in.states), x(in.x), dt(in.dt), z(in.z), y(args.y), memory(floats(width, in.states)) {
        Parts part{memory.data};
        A = part.take(width * N);
        h = part.take(width * N);
        limit = part.take(width);
        BC = part.take(2 * CHUNK * N);
    }

    int64_t lanes(int64_t g) const { return least(LANES, channels - g); }

    void run() {
        const int64_t length = row_length(in, b);
        start();
        Reads reads(in, b);
        for (int64_t l = 0; l < length; l += CHUNK) {
            const int64_t steps = least(CHUNK, length - l);
            gather_steps<T>(BC, in, b, l, steps, CHUNK);
            const Reads before = reads;
            for (int64_t g = 0; g < channels; g += LANES) {
                reads = before;
                chunk(g, l, steps, reads);
            }
        }
        zero_steps(y, b, length, in.length, channel, channels);
        if (args.checkpoints) complete(parts(length, CHUNK) * CHUNK);
        if (args.last)
            for (int64_t g = 0; g < channels; g += LANES) give(g, args.last, b);
    }

    void start() {
        const float* state = pointer<const float>(in.state);
        for (int64_t g = 0; g < channels; g += LANES) {
            const int64_t e = channel + g;
            to_lanes(A + g * N, LANES, pointer<const float>(in.A) + e * N, lanes(g), N, LOG2_E);
            to_lanes(h + g * N, LANES, state ? state + (b * in.channels + e) * N : nullptr, lanes(g), N, 1.0f);
            store(limit + g, step_limits(A + g * N, LANES, N));
        }
    }

    // Steps l, ..., l + steps - 1 of the group at channel + g.
    void chunk(int64_t g, int64_t l, int64_t steps, Reads& reads) {
        if (args.checkpoints) keep(g, l);
        prepare(g, l, steps);
        for (int64_t from = 0; from < steps;) {
            const bool stops = reads.at < reads.end && reads.positions[reads.at] < l + steps;
            const int64_t to = stops ? reads.positions[reads.at] - l + 1 : steps;
            walk_all(g, l, from, to);
            for (; reads.reads(l + to - 1); ++reads.at) give(g, args.states_read, reads.places[reads.at]);
            from = to;
        }
    }

    void keep(int64_t g, int64_t l) {
        const Checkpoint kept(in, args.checkpoints, b, l / CHUNK, channel + g);
        for (int64_t n = 0; n < N; ++n) store(kept.data + n * kept.stride, load(h + g * N + n * LANES));
    }

    // Checkpoints that no step wrote: padding from `walked` on keeps the last state, lanes without a channel hold 0.
    void complete(int64_t walked) {
        for (int64_t g = 0; g < channels; g += LANES)
            for (int64_t l = walked; l < in.length; l += CHUNK) keep(g, l);
        const int64_t end = parts(channels, CHECKPOINT_CHANNELS) * CHECKPOINT_CHANNELS;
        for (int64_t g = parts(channels, LANES) * LANES; g < end; g += LANES)
            for (int64_t l = 0; l < in.length; l += CHUNK) {
                const Checkpoint kept(in, args.checkpoints, b, l / CHUNK, channel + g);
                for (int64_t n = 0; n < N; ++n) store(kept.data + n * kept.stride, zero());
            }
    }

    // The group's state as part of place i of a (., E, N) tensor.
    void give(int64_t g, int64_t tensor, int64_t i) {
        from_lanes(pointer<float>(tensor) + (i * in.channels + channel + g) * N, h + g * N, LANES, lanes(g), N);
    }

    CHARTSCAN_APART void prepare(int64_t g, int64_t l, int64_t steps) {
        const int64_t e = channel + g, n = lanes(g);
        const V bias = load_or_zero(in.dt_bias ? pointer<const float>(in.dt_bias) + e : nullptr, n);
        const V skip = load_or_zero(in.D ? pointer<const float>(in.D) + e : nullptr, n);
        const V most = load(limit + g);
        for (int64_t s = 0; s < steps; ++s) {
            const V xs = load_lanes(x.at(b, l + s) + e, n);
            const V d = softplus(add(load_lanes(dt.at(b, l + s) + e, n), bias));
            store(step[s].delta, min(most, d));
            store(step[s].input, mul(d, xs));
            store(step[s].y, mul(skip, xs));
        }
    }

    void walk_all(int64_t g, int64_t l, int64_t from, int64_t to) {
        int64_t n = 0;
        for (; n + FORWARD_STATES <= N; n += FORWARD_STATES) walk<FORWARD_STATES>(g, n, l, from, to);
        if (n + 8 <= N) walk<8>(g, n, l, from, to), n += 8;
        if (n + 4 <= N) walk<4>(g, n, l, from, to), n += 4;
        if (n + 2 <= N) walk<2>(g, n, l, from, to), n += 2;
        if (n < N) walk<1>(g, n, l, from, to);
    }

    // S states from n on through the steps [from, to) of the chunk at l; the next chunk is fetched meanwhile. The last
    // states complete y: the division of its gate then overlaps with their multiplications.
    template <int S> CHARTSCAN_APART void walk(int64_t g, int64_t n, int64_t l, int64_t from, int64_t to) {
        const int64_t next = l + CHUNK, e = channel + g, N = this->N, count = lanes(g);
        const Ahead streams[5] = {ahead(x, b, next, e), ahead(dt, b, next, e), ahead(z, b, next, e),
                                  ahead(y, b, next, e), ahead(in, args.checkpoints, b, next, e)};
        const bool last = n + S == N;
        const T* const gates = last && z.data ? z.at(b, l) + e : nullptr;
        T* const out = y.at(b, l) + e;
        float* const kept = h + (g * N + n * LANES);
        const float* const rates = A + (g * N + n * LANES);
        const float *Bs = BC + 2 * from * N + n, *Cs = Bs + N;
        V state[S], rate[S];
        CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) {
            state[i] = load(kept + i * LANES);
            rate[i] = load(rates + i * LANES);
        }
        for (int64_t s = from; s < to; ++s, Bs += 2 * N, Cs += 2 * N) {
            if (n == 0)
                for (const Ahead& stream : streams) stream.fetch(s);
            const V gate = gates ? silu(load_lanes(gates + s * z.step, count)) : set1(1.0f);
            const V d = load(step[s].delta), u = load(step[s].input);
            V sums[2] = {load(step[s].y), zero()};
            CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) {
                const V decay = exp2_product(d, rate[i]);
                state[i] = fma(decay, state[i], mul(u, set1(Bs[i])));
                sums[i % 2] = fma(state[i], set1(Cs[i]), sums[i % 2]);
            }
            const V total = add(sums[0], sums[1]);
            if (last)
                store_lanes(out + s * y.step, mul(total, gate), count);
            else
                store(step[s].y, total);
        }
        CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) store(kept + i * LANES, state[i]);
    }
};

template <class T> static inline void scan_forward_of(const ScanForward& args) {
    const int64_t width = forward_channels(args.in), blocks = parts(args.in.channels, width);
    parallel_for(args.in.batch * blocks, args.in.threads, [&](int64_t task) {
        ForwardBlock<T>(args, task / blocks, task % blocks * width, width).run();
    });
}

static inline void scan_forward(const ScanForward& args) {
    if (args.in.type == BFLOAT16)
        scan_forward_of<bf16>(args);
    else
        scan_forward_of<float>(args);
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
