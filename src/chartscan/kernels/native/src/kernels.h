// The kernels of one instruction set. Each variant file (avx512.cpp, ...) gives one table; module.cpp chooses.
#pragma once

#include "arguments.h"

namespace chartscan {

struct Kernels {
    const char* name;
    void (*scan_forward)(const ScanForward&);
    void (*scan_backward)(const ScanBackward&);
    void (*conv_forward)(const ConvForward&);
    void (*conv_backward)(const ConvBackward&);
    void (*stack_step)(const StackStep&);
    double (*fma_peak)(int64_t threads, int64_t milliseconds); // multiply-adds a second
};

extern const Kernels avx512_kernels, avx2_kernels, neon_kernels, portable_kernels;

} // namespace chartscan
