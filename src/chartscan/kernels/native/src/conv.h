// Depthwise causal convolution over time, channels last, with an optional SiLU, forward and backward.
//
//     c_l = bias + sum_j weight[:, j] x_(l - K + 1 + j),   y_l = silu(c_l) or c_l
//
// Inputs before the first step come from `window`, or are zero. A task is a tile of 64 steps of one row, walked
// in blocks of 64 channels: the inputs of a block are copied to float32 in the first-level cache, those of the
// K - 1 steps around the tile included, so that all else is the same for every type, stride, tail and window.
// Tiles depend on the shape alone; sums over steps are formed per tile and added in the order of rows and
// tiles. So results depend neither on threads nor on batch-mates.
#include <algorithm>
#include <cstddef>
#include <memory>

namespace chartscan {
namespace CHARTSCAN_ISA {
namespace conv {

constexpr int64_t STEPS = 64;    // of a tile
constexpr int64_t CHANNELS = 64; // of a block; rows of the buffers below are so long
static_assert(CHANNELS % LANES == 0, "a block is whole vectors");

// Of a row; one, without steps, where there are none.
inline int64_t tiles(const ConvInputs& in) { return std::max<int64_t>((in.length + STEPS - 1) / STEPS, 1); }

template <class T>
T* at(const Strided& tensor, int64_t row, int64_t step, int64_t channel) {
    return reinterpret_cast<T*>(tensor.data) + row * tensor.row + step * tensor.step + channel;
}

inline float* floats(int64_t pointer) { return reinterpret_cast<float*>(pointer); }

template <class T>
V load_up_to(const T* from, int64_t count) {
    return count >= LANES ? load(from) : load_part(from, static_cast<int>(count));
}

template <class T>
void store_up_to(T* to, V value, int64_t count) {
    if (count >= LANES) store(to, value);
    else store_part(to, value, static_cast<int>(count));
}

// Rows of CHANNELS floats, uninitialised.
class Rows {
public:
    explicit Rows(int64_t rows) : memory_(new float[rows * CHANNELS + 16]) {}
    float* row(int64_t index) { return aligned() + index * CHANNELS; }
    const float* row(int64_t index) const { return aligned() + index * CHANNELS; }
    void clear(int64_t begin, int64_t end) { std::fill(row(begin), row(end), 0.0f); }

private:
    float* aligned() const { // to the 64 bytes of a cache line
        return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) & ~uintptr_t{63});
    }
    std::unique_ptr<float[]> memory_;
};

// What a task works on.
struct Tile {
    const ConvInputs& in;
    int64_t index, row, first, last; // which, of all rows together; its row; its steps [first, last)
    int64_t before;                  // K - 1: buffers hold so many steps before `first` and after `last`

    Tile(const ConvInputs& inputs, int64_t task)
        : in(inputs), index(task), row(task / tiles(inputs)), first(task % tiles(inputs) * STEPS),
          last(std::min(first + STEPS, inputs.length)), before(inputs.taps - 1) {}

    int64_t steps() const { return last - first; }
    int64_t rows() const { return steps() + 2 * before; }
    int64_t end() const { return std::min(last + before, in.length); } // of the steps there are
};

// Weights by tap and the bias, of one block.
struct Taps {
    Rows weights; // K rows
    Rows bias;    // 1 row
    int64_t count;

    explicit Taps(int64_t taps) : weights(taps), bias(1), count(taps) {}

    void read(const ConvInputs& in, int64_t channel, int64_t width, bool reversed) {
        weights.clear(0, count);
        bias.clear(0, 1);
        const float* w = floats(in.weight) + channel * count;
        for (int64_t j = 0; j < count; j++)
            for (int64_t c = 0; c < width; c++) weights.row(reversed ? count - 1 - j : j)[c] = w[c * count + j];
        if (in.bias && !reversed) std::copy_n(floats(in.bias) + channel, width, bias.row(0));
    }
};

// The inputs of a tile and of the steps around it, up to `end`, of one block.
template <class T>
void read_inputs(Rows& x, const Tile& tile, int64_t end, int64_t channel, int64_t width) {
    const ConvInputs& in = tile.in;
    for (int64_t step = tile.first - tile.before; step < end; step++) {
        float* to = x.row(step - tile.first + tile.before);
        const int64_t place = tile.row * tile.before + step + tile.before; // in the window
        for (int64_t c = 0; c < width; c += LANES) {
            V value = zero();
            if (step >= 0) value = load_up_to(at<const T>(in.x, tile.row, step, channel + c), width - c);
            else if (in.window) value = load_up_to(floats(in.window) + place * in.channels + channel + c, width - c);
            store(to + c, value);
        }
    }
}

// N consecutive sums over the taps of the rows from `x` on, of one vector of channels.
template <int N>
void convolve(V (&sums)[N], const float* x, const Taps& taps, int64_t c) {
    for (int n = 0; n < N; n++) sums[n] = load(taps.bias.row(0) + c);
    for (int64_t j = 0; j < taps.count; j++) {
        const V weight = load(taps.weights.row(j) + c);
        for (int n = 0; n < N; n++) sums[n] = fma(weight, load(x + (j + n) * CHANNELS + c), sums[n]);
    }
}

// Calls use(step, sum) with the sums of `steps` consecutive steps of one vector of channels.
template <class Use>
void convolve_each(const float* x, int64_t steps, const Taps& taps, int64_t c, const Use& use) {
    int64_t step = 0;
    for (; step + 4 <= steps; step += 4) {
        V sums[4];
        convolve(sums, x + step * CHANNELS, taps, c);
        for (int n = 0; n < 4; n++) use(step + n, sums[n]);
    }
    for (; step < steps; step++) {
        V sums[1];
        convolve(sums, x + step * CHANNELS, taps, c);
        use(step, sums[0]);
    }
}

template <class T>
void forward_block(const ConvForward& a, const Tile& tile, Rows& x, Taps& taps, int64_t channel, int64_t width) {
    taps.read(a.in, channel, width, false);
    read_inputs<T>(x, tile, tile.last, channel, width);
    for (int64_t c = 0; c < width; c += LANES)
        convolve_each(x.row(0), tile.steps(), taps, c, [&](int64_t step, V sum) {
            T* to = at<T>(a.y, tile.row, tile.first + step, channel + c);
            store_up_to(to, a.in.silu ? silu(sum) : sum, width - c);
        });
}

template <class T>
void forward(const ConvForward& a) {
    parallel_for(a.in.batch * tiles(a.in), a.in.threads, [&](int64_t task) {
        const Tile tile(a.in, task);
        Rows x(tile.rows());
        Taps taps(a.in.taps);
        for (int64_t c = 0; c < a.in.channels; c += CHANNELS)
            forward_block<T>(a, tile, x, taps, c, std::min(CHANNELS, a.in.channels - c));
    });
}

// The buffers of a task of the backward pass.
struct Work {
    Rows x, dsum; // of the steps from first - (K - 1) to last + K - 1
    Taps taps, reversed;

    explicit Work(const Tile& tile)
        : x(tile.rows()), dsum(tile.rows()), taps(tile.in.taps), reversed(tile.in.taps) {}
};

// d silu(c) / dc
inline V silu_slope(V c) {
    const V s = sigmoid(c);
    return fma(mul(c, s), sub(set1(1), s), s);
}

// Gradients of the sums: of the steps of the tile and of those after it that its inputs reach; zero elsewhere.
template <class T>
void sum_gradients(const ConvBackward& a, const Tile& tile, Work& work, int64_t channel, int64_t width) {
    const int64_t steps = tile.end() - tile.first;
    work.dsum.clear(0, tile.before);
    work.dsum.clear(tile.before + steps, tile.rows());
    for (int64_t c = 0; c < width; c += LANES) {
        auto dy = [&](int64_t step) {
            return load_up_to(at<const T>(a.dy, tile.row, tile.first + step, channel + c), width - c);
        };
        float* dsum = work.dsum.row(tile.before) + c;
        if (a.in.silu)
            convolve_each(work.x.row(0), steps, work.taps, c, [&](int64_t step, V sum) {
                store(dsum + step * CHANNELS, mul(dy(step), silu_slope(sum)));
            });
        else
            for (int64_t step = 0; step < steps; step++) store(dsum + step * CHANNELS, dy(step));
    }
}

// dx_l = sum_j weight[:, j] dc_(l + K - 1 - j): the convolution again, taps reversed. The same before the first
// step gives the gradient of the window.
template <class T>
void input_gradients(const ConvBackward& a, const Tile& tile, Work& work, int64_t channel, int64_t width) {
    for (int64_t c = 0; c < width; c += LANES) {
        convolve_each(work.dsum.row(tile.before), tile.steps(), work.reversed, c, [&](int64_t step, V sum) {
            store_up_to(at<T>(a.dx, tile.row, tile.first + step, channel + c), sum, width - c);
        });
        if (!a.dwindow || tile.first > 0) continue;
        convolve_each(work.dsum.row(0), tile.before, work.reversed, c, [&](int64_t place, V sum) {
            const int64_t row = tile.row * tile.before + place;
            store_up_to(floats(a.dwindow) + row * a.in.channels + channel + c, sum, width - c);
        });
    }
}

// Sums over the steps of the tile to `partial` (K + 1, E): the gradient of each tap, then of the bias.
inline void weight_gradients(const Tile& tile, const Work& work, float* partial, int64_t channel, int64_t width) {
    const int64_t taps = tile.in.taps, channels = tile.in.channels;
    for (int64_t c = 0; c < width; c += LANES) {
        const float* dsum = work.dsum.row(tile.before) + c;
        for (int64_t j = 0; j <= taps; j += 4) { // four sums at a time; the last has the bias
            V sums[4] = {zero(), zero(), zero(), zero()};
            const int64_t count = std::min<int64_t>(4, taps + 1 - j);
            for (int64_t step = 0; step < tile.steps(); step++) {
                const V d = load(dsum + step * CHANNELS);
                for (int64_t n = 0; n < count; n++)
                    sums[n] = j + n < taps ? fma(d, load(work.x.row(step + j + n) + c), sums[n]) : add(sums[n], d);
            }
            for (int64_t n = 0; n < count; n++)
                store_up_to(partial + (j + n) * channels + channel + c, sums[n], width - c);
        }
    }
}

// Adds the partial sums (tiles, K + 1, E) in their order.
inline void add_weight_gradients(const ConvBackward& a, const float* partials) {
    const int64_t taps = a.in.taps, channels = a.in.channels, count = a.in.batch * tiles(a.in);
    parallel_for((channels + CHANNELS - 1) / CHANNELS, a.in.threads, [&](int64_t block) {
        const int64_t end = std::min((block + 1) * CHANNELS, channels);
        for (int64_t c = block * CHANNELS; c < end; c++) {
            for (int64_t j = 0; j <= taps; j++) {
                float total = 0;
                for (int64_t i = 0; i < count; i++) total += partials[(i * (taps + 1) + j) * channels + c];
                if (j < taps) floats(a.dweight)[c * taps + j] = total;
                else if (a.dbias) floats(a.dbias)[c] = total;
            }
        }
    });
}

template <class T>
void backward(const ConvBackward& a) {
    const int64_t size = (a.in.taps + 1) * a.in.channels;
    const std::unique_ptr<float[]> partials(new float[a.in.batch * tiles(a.in) * size]);
    parallel_for(a.in.batch * tiles(a.in), a.in.threads, [&](int64_t task) {
        const Tile tile(a.in, task);
        Work work(tile);
        for (int64_t c = 0; c < a.in.channels; c += CHANNELS) {
            const int64_t width = std::min(CHANNELS, a.in.channels - c);
            work.taps.read(a.in, c, width, false);
            work.reversed.read(a.in, c, width, true);
            read_inputs<T>(work.x, tile, tile.end(), c, width);
            sum_gradients<T>(a, tile, work, c, width);
            input_gradients<T>(a, tile, work, c, width);
            weight_gradients(tile, work, partials.get() + task * size, c, width);
        }
    });
    add_weight_gradients(a, partials.get());
}

} // namespace conv

inline void conv_forward(const ConvForward& a) {
    a.in.type == BFLOAT16 ? conv::forward<bf16>(a) : conv::forward<float>(a);
}

inline void conv_backward(const ConvBackward& a) {
    a.in.type == BFLOAT16 ? conv::backward<bf16>(a) : conv::backward<float>(a);
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
