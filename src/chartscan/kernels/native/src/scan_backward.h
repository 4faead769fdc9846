// Gradients of the selective scan: each chunk's states are computed again from its checkpoint, then walked back.
//
// With w_l = dy_l silu(z_l) and g_l the gradient of h_l, per channel and state:
//   g_l = dstates_l + w_l C_l + a_{l+1} g_{l+1}      a_l = exp(delta_l A)
//   dC_l = sum_e w_l h_l         dB_l = sum_e g_l delta_l x_l
//   q_l = a_l g_l h_{l-1}        dA = sum_l q_l delta_l,  ddelta_l = sum_n q_l A + x_l sum_n g_l B_l
// Sums over channels are formed by blocks, in an order that depends on the shape alone; sums over rows row by row.
#pragma once

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int BACKWARD_STATES = 4; // at a time: with 8, decays and sums leave the first-level cache

// Few blocks, since each has its own sums of the size of B and C; narrow blocks leave work for more threads.
CHARTSCAN_INLINE int64_t backward_channels(int64_t channels) {
    const int64_t eighth = parts(parts(channels, 8), CHECKPOINT_CHANNELS) * CHECKPOINT_CHANNELS;
    return eighth < 128 ? 128 : eighth;
}

// Sums to be added up when all tasks are done.
struct PartialSums {
    int64_t blocks, steps, states, channels; // steps = B L
    Floats memory;
    float *dB, *dC;                 // (blocks, B, L, N)
    float *dA, *dD, *ddt_bias;      // (B, E, N), (B, E), (B, E)

    PartialSums(const ScanInputs& in, int64_t blocks)
        : blocks(blocks), steps(in.batch * in.length), states(in.states), channels(in.channels),
          memory(2 * blocks * steps * states + in.batch * channels * (states + 2) + 5 * 16) {
        Parts part{memory.data};
        dB = part.take(blocks * steps * states);
        dC = part.take(blocks * steps * states);
        dA = part.take(in.batch * channels * states);
        dD = part.take(in.batch * channels);
        ddt_bias = part.take(in.batch * channels);
    }
};

// Of one group and step: delta, delta x, the weight of y before the gate in the loss, that y, gradients of delta
// (over ln 2) and of delta x, the slope of the softplus, and what y before the gate is in dz.
struct BackwardStep {
    float delta[LANES], input[LANES], weight[LANES], y[LANES];
    float ddelta[LANES], dinput[LANES], slope[LANES], dgate[LANES];
};

// Of one group, step and state: the decay, and the state before it.
struct BackwardPast {
    float decay[LANES], before[LANES];
};

// One block of channels of one row. Arrays by group: A, g, dA [N][LANES], limit, dD, ddt_bias [LANES]; of the chunk: BC
// [CHUNK][2][N], dB, dC [CHUNK][N][LANES].
template <class T> struct BackwardBlock {
    const ScanBackward& args;
    const ScanInputs& in;
    PartialSums& sums;
    int64_t b, block, channel, channels, N;
    View<const T> x, dt, z, dy;
    View<T> dx, ddt, dz;
    Floats memory;
    float *A, *g, *dA, *limit, *dD, *ddt_bias, *BC, *dB, *dC;
    alignas(64) BackwardStep step[CHUNK];
    alignas(64) BackwardPast past[CHUNK * BACKWARD_STATES];

    static int64_t floats(int64_t states, int64_t width) {
        return width * (3 * states + 3) + CHUNK * states * 2 * (1 + LANES) + 2 * LANES * LANES + 9 * 16;
    }

    BackwardBlock(const ScanBackward& args, PartialSums& sums, int64_t b, int64_t block, int64_t width)
        : args(args), in(args.in), sums(sums), b(b), block(block), channel(block * width),
          channels(least(width, in.channels - channel)), N(in.states), x(in.x), dt(in.dt), z(in.z), dy(args.dy),
          dx(args.dx), ddt(args.ddt), dz(args.dz), memory(floats(in.states, width)) {
        Parts part{memory.data};
        for (float** by_state : {&A, &g, &dA}) *by_state = part.take(width * N);
        for (float** by_channel : {&limit, &dD, &ddt_bias}) *by_channel = part.take(width);
        BC = part.take(2 * CHUNK * N);
        // with room to sum whole squares of LANES vectors
        for (float** by_lane : {&dB, &dC}) *by_lane = part.take(CHUNK * N * LANES + LANES * LANES);
    }

    int64_t place(int64_t e) const { return b * in.channels + channel + e; } // in (B, E)
    int64_t lanes(int64_t e) const { return least(LANES, channels - e); }
    V of_channels(int64_t address, int64_t e) const {
        return load_or_zero(address ? pointer<const float>(address) + channel + e : nullptr, lanes(e));
    }

    void run() {
        const int64_t length = row_length(in, b);
        Reads reads(in, b);
        if (!args.dstates_read) reads.end = reads.at; // the states read got no gradient
        for (int64_t e = 0; e < channels; e += LANES) start(e);
        for (int64_t l = (parts(length, CHUNK) - 1) * CHUNK; l >= 0; l -= CHUNK) {
            const int64_t steps = least(CHUNK, length - l);
            const Reads here = reads.split(l);
            gather_steps<T>(BC, in, b, l, steps, -CHUNK);
            fill_zero(dB, steps * N * LANES);
            fill_zero(dC, steps * N * LANES);
            for (int64_t e = 0; e < channels; e += LANES)
                Group{*this, e, channel + e, lanes(e), l, steps, here}.run();
            sum_channels(l, steps);
        }
        for (const View<T>& to : {dx, ddt, dz})
            if (to.data) zero_steps(to, b, length, in.length, channel, channels);
        for (int64_t e = 0; e < channels; e += LANES) end(e);
    }

    void start(int64_t e) {
        const float* dlast = pointer<const float>(args.dlast);
        to_lanes(A + e * N, LANES, pointer<const float>(in.A) + (channel + e) * N, lanes(e), N, LOG2_E);
        to_lanes(g + e * N, LANES, dlast ? dlast + place(e) * N : nullptr, lanes(e), N, 1.0f);
        to_lanes(dA + e * N, LANES, nullptr, lanes(e), N, 1.0f);
        store(limit + e, step_limits(A + e * N, LANES, N));
        store(dD + e, zero());
        store(ddt_bias + e, zero());
    }

    void end(int64_t e) {
        from_lanes(sums.dA + place(e) * N, dA + e * N, LANES, lanes(e), N);
        store_lanes(sums.dD + place(e), load(dD + e), lanes(e));
        store_lanes(sums.ddt_bias + place(e), load(ddt_bias + e), lanes(e));
        if (args.dstate) from_lanes(pointer<float>(args.dstate) + place(e) * N, g + e * N, LANES, lanes(e), N);
    }

    CHARTSCAN_APART void sum_channels(int64_t l, int64_t steps) {
        const int64_t count = steps * N, at = ((block * in.batch + b) * in.length + l) * N;
        for (int64_t i = 0; i < count; i += LANES) {
            float whole[2][LANES];
            sum_each(dB + i * LANES, whole[0]);
            sum_each(dC + i * LANES, whole[1]);
            store_lanes(sums.dB + at + i, load(whole[0]), least(LANES, count - i));
            store_lanes(sums.dC + at + i, load(whole[1]), least(LANES, count - i));
        }
    }

    // One group, through one chunk.
    struct Group {
        BackwardBlock& k;
        int64_t e, channel, lanes; // first channel in the block and in the tensors, number of channels
        int64_t l, steps;
        Reads reads; // those within the chunk

        // The lines that the chunk before this one will touch, spread over this one's 2 N / S walks. Walk i sees to
        // streams i, i + walks, ...
        struct Fetch {
            static constexpr int64_t STREAMS = 8;
            Ahead streams[STREAMS];
            int64_t walks;

            explicit Fetch(const Group& t)
                : streams{at(t, t.k.x), at(t, t.k.dt), at(t, t.k.dy), at(t, t.k.z), at(t, t.k.dx), at(t, t.k.ddt),
                          at(t, t.k.dz), ahead(t.k.in, t.k.args.checkpoints, t.k.b, t.l - CHUNK, t.channel)},
                  walks(2 * parts(t.k.N, BACKWARD_STATES)) {}
            template <class U> static Ahead at(const Group& t, const View<U>& of) {
                return ahead(of, t.k.b, t.l - CHUNK, t.channel);
            }
            CHARTSCAN_MEMBER void step(int64_t walk, int64_t s) const {
                for (int64_t i = walk; i < STREAMS; i += walks) streams[i].fetch(s);
            }
        };

        void run() {
            const Fetch fetch(*this);
            prepare();
            int64_t n = 0;
            for (; n + BACKWARD_STATES <= k.N; n += BACKWARD_STATES) states<BACKWARD_STATES>(n, fetch);
            if (n + 2 <= k.N) states<2>(n, fetch), n += 2;
            if (n < k.N) states<1>(n, fetch);
            finish();
        }

        CHARTSCAN_APART void prepare() {
            const V bias = k.of_channels(k.in.dt_bias, e), skip = k.of_channels(k.in.D, e);
            const V most = load(k.limit + e);
            for (int64_t s = 0; s < steps; ++s) {
                BackwardStep& to = k.step[s];
                const V xs = load_lanes(k.x.at(k.b, l + s) + channel, lanes);
                V slope;
                const V d = softplus(add(load_lanes(k.dt.at(k.b, l + s) + channel, lanes), bias), &slope);
                store(to.delta, min(most, d));
                store(to.input, mul(d, xs));
                store(to.slope, slope);
                store(to.y, mul(skip, xs));
                store(to.ddelta, zero());
                store(to.dinput, zero());
                const V dys = load_lanes(k.dy.at(k.b, l + s) + channel, lanes);
                gate(to, dys, k.z.data ? k.z.at(k.b, l + s) + channel : nullptr);
            }
        }

        // d silu(z) = sigmoid(z) (1 + z (1 - sigmoid(z))) dz
        CHARTSCAN_MEMBER void gate(BackwardStep& to, V dy, const T* z) {
            if (!z) return store(to.weight, dy);
            const V zs = load_lanes(z, lanes), open = sigmoid(zs), gated = mul(zs, open);
            store(to.weight, mul(dy, gated));
            store(to.dgate, mul(dy, fma(gated, sub(set1(1.0f), open), open)));
        }

        template <int S> void states(int64_t n, const Fetch& fetch) {
            again<S>(n, fetch);
            int64_t to = steps;
            for (int64_t r = reads.end; to > 0;) {
                for (; r > reads.at && reads.positions[r - 1] == l + to - 1; --r) take<S>(n, reads.places[r - 1]);
                const int64_t from = r > reads.at ? reads.positions[r - 1] - l + 1 : 0;
                back<S>(n, from, to, fetch);
                to = from;
            }
        }

        // The chunk's states and decays again; y and dC on the way.
        template <int S> CHARTSCAN_APART void again(int64_t n, const Fetch& fetch) {
            const int64_t N = k.N;
            V h[S], rate[S];
            const Checkpoint kept(k.in, k.args.checkpoints, k.b, l / CHUNK, channel);
            CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) h[i] = load(kept.data + (n + i) * kept.stride);
            CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) rate[i] = load(k.A + e * N + (n + i) * LANES);
            const float *Bs = k.BC + n, *Cs = Bs + N;
            float* dCs = k.dC + n * LANES;
            BackwardStep* at = k.step;
            BackwardPast* past = k.past;
            for (int64_t s = 0; s < steps; ++s, Bs += 2 * N, Cs += 2 * N, dCs += N * LANES, past += S, ++at) {
                fetch.step(2 * n / BACKWARD_STATES, s);
                const V d = load(at->delta), u = load(at->input), weight = load(at->weight);
                V y = load(at->y);
                CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) {
                    V dC = load(dCs + i * LANES);
                    const V a = exp2_product(d, rate[i]);
                    store(past[i].decay, a);
                    store(past[i].before, h[i]);
                    h[i] = fma(a, h[i], mul(u, set1(Bs[i])));
                    y = fma(h[i], set1(Cs[i]), y);
                    dC = fma(weight, h[i], dC);
                    store(dCs + i * LANES, dC);
                }
                store(at->y, y);
            }
        }

        // Adds the gradient of states given to the outside.
        template <int S> void take(int64_t n, int64_t place) {
            const float* given = pointer<const float>(k.args.dstates_read) + place * k.in.channels * k.N + n;
            for (int64_t lane = 0; lane < lanes; ++lane)
                for (int i = 0; i < S; ++i)
                    k.g[e * k.N + (n + i) * LANES + lane] += given[(channel + lane) * k.N + i];
        }

        // Steps to - 1, ..., from.
        template <int S> CHARTSCAN_APART void back(int64_t n, int64_t from, int64_t to, const Fetch& fetch) {
            const int64_t N = k.N;
            float *const gs = k.g + e * N + n * LANES, *const dAs = k.dA + e * N + n * LANES;
            V g[S], dA[S], rate[S];
            CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) {
                g[i] = load(gs + i * LANES);
                dA[i] = load(dAs + i * LANES);
                rate[i] = load(k.A + e * N + (n + i) * LANES);
            }
            const float *Bs = k.BC + 2 * to * N + n, *Cs = Bs + N;
            float* dBs = k.dB + (to * N + n) * LANES;
            BackwardStep *at = k.step + to, *const first = k.step + from;
            const BackwardPast* past = k.past + to * S;
            while (at > first) {
                Bs -= 2 * N, Cs -= 2 * N, dBs -= N * LANES, past -= S, --at;
                fetch.step(2 * n / BACKWARD_STATES + 1, at - k.step);
                const V d = load(at->delta), u = load(at->input), weight = load(at->weight);
                V ddelta = load(at->ddelta), dinput = load(at->dinput);
                CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) {
                    V dB = load(dBs + i * LANES);
                    const V all = fma(weight, set1(Cs[i]), g[i]);
                    dB = fma(all, u, dB);
                    dinput = fma(all, set1(Bs[i]), dinput);
                    g[i] = mul(all, load(past[i].decay));
                    const V q = mul(g[i], load(past[i].before));
                    ddelta = fma(q, rate[i], ddelta);
                    dA[i] = fma(q, d, dA[i]);
                    store(dBs + i * LANES, dB);
                }
                store(at->ddelta, ddelta);
                store(at->dinput, dinput);
            }
            CHARTSCAN_UNROLL for (int i = 0; i < S; ++i) {
                store(gs + i * LANES, g[i]);
                store(dAs + i * LANES, dA[i]);
            }
        }

        CHARTSCAN_APART void finish() {
            const V skip = k.of_channels(k.in.D, e);
            V dD = load(k.dD + e), dbias = load(k.ddt_bias + e);
            for (int64_t s = 0; s < steps; ++s) {
                const BackwardStep& of = k.step[s];
                const V xs = load_lanes(k.x.at(k.b, l + s) + channel, lanes), weight = load(of.weight);
                const V dinput = load(of.dinput), ddelta = fma(dinput, xs, mul(load(of.ddelta), set1(LN_2)));
                const V ddts = mul(load(of.slope), ddelta);
                store_lanes(k.dx.at(k.b, l + s) + channel, fma(weight, skip, mul(dinput, load(of.delta))), lanes);
                store_lanes(k.ddt.at(k.b, l + s) + channel, ddts, lanes);
                if (k.z.data) store_lanes(k.dz.at(k.b, l + s) + channel, mul(load(of.dgate), load(of.y)), lanes);
                dD = fma(weight, xs, dD);
                dbias = add(dbias, ddts);
            }
            store(k.dD + e, dD);
            store(k.ddt_bias + e, dbias);
        }
    };
};

// dB or dC of one row: the blocks' sums in turn.
template <class T>
static inline void add_blocks(const Strided& to, const PartialSums& sums, const float* partial, const ScanInputs& in,
                              int64_t b, int64_t from, int64_t until) {
    const int64_t length = row_length(in, b), N = in.states;
    const View<T> out(to);
    for (int64_t l = from; l < until; ++l)
        for (int64_t n = 0; n < N; n += LANES) {
            V total = zero();
            const int64_t many = least(LANES, N - n);
            for (int64_t block = 0; block < sums.blocks && l < length; ++block)
                total = add(total, load_lanes(partial + (block * sums.steps + b * in.length + l) * N + n, many));
            store_lanes(out.at(b, l) + n, total, many);
        }
}

// Sums over the rows of (B, count) partial sums, row by row; nothing where the result is not wanted.
static inline void add_rows(int64_t address, const float* partial, int64_t rows, int64_t count) {
    float* to = pointer<float>(address);
    if (!to) return;
    for (int64_t i = 0; i < count; i += LANES) {
        const int64_t many = least(LANES, count - i);
        V total = zero();
        for (int64_t b = 0; b < rows; ++b) total = add(total, load_lanes(partial + b * count + i, many));
        store_lanes(to + i, total, many);
    }
}

template <class T> static inline void scan_backward_of(const ScanBackward& args) {
    const ScanInputs& in = args.in;
    const int64_t width = backward_channels(in.channels), blocks = parts(in.channels, width);
    PartialSums sums(in, blocks);
    parallel_for(in.batch * blocks, in.threads, [&](int64_t task) {
        BackwardBlock<T>(args, sums, task / blocks, task % blocks, width).run();
    });
    const int64_t stretch = 256, stretches = parts(in.length, stretch);
    parallel_for(in.batch * stretches, in.threads, [&](int64_t task) {
        const int64_t b = task / stretches, l = task % stretches * stretch, end = least(in.length, l + stretch);
        add_blocks<T>(args.dB, sums, sums.dB, in, b, l, end);
        add_blocks<T>(args.dC, sums, sums.dC, in, b, l, end);
    });
    add_rows(args.dA, sums.dA, in.batch, in.channels * in.states);
    add_rows(args.dD, sums.dD, in.batch, in.channels);
    add_rows(args.ddt_bias, sums.ddt_bias, in.batch, in.channels);
}

static inline void scan_backward(const ScanBackward& args) {
    if (args.in.type == BFLOAT16)
        scan_backward_of<bf16>(args);
    else
        scan_backward_of<float>(args);
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
