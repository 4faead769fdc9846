// How many multiply-adds a second this instruction set reaches here: the roof that kernels are measured against.
#include <algorithm>
#include <atomic>
#include <chrono>

namespace chartscan {
namespace CHARTSCAN_ISA {

constexpr int PEAK_CHAINS = 12; // independent chains: two units times a latency of 4 to 5, within 16 registers
constexpr int64_t PEAK_BURST = 20'000;

// One burst on one thread; the returned value only keeps the compiler from leaving it out.
inline float peak_burst() {
    V chains[PEAK_CHAINS];
    for (int i = 0; i < PEAK_CHAINS; i++) chains[i] = set1(0.1f * static_cast<float>(i));
    const V factor = set1(0.9999f), term = set1(1e-4f); // stays between 0 and 1.1, and normal
    for (int64_t n = 0; n < PEAK_BURST; n++)
        for (int i = 0; i < PEAK_CHAINS; i++) chains[i] = fma(chains[i], factor, term);
    for (int i = 1; i < PEAK_CHAINS; i++) chains[0] = add(chains[0], chains[i]);
    return sum(chains[0]);
}

// Multiply-adds a second of all `threads` together, lanes counted one by one.
inline double fma_peak(int64_t threads, int64_t milliseconds) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now(), end = start + std::chrono::milliseconds(milliseconds);
    std::atomic<int64_t> bursts{0};
    std::atomic<float> sink{0};
    parallel_for(threads, threads, [&](int64_t) {
        do {
            sink = peak_burst();
            bursts++;
        } while (Clock::now() < end);
    });
    const std::chrono::duration<double> seconds = Clock::now() - start;
    return static_cast<double>(bursts) * PEAK_BURST * PEAK_CHAINS * LANES / seconds.count();
}

} // namespace CHARTSCAN_ISA
} // namespace chartscan
