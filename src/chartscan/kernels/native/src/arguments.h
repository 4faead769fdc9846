// What Python passes to the kernels: flat structs of 64-bit integers, pointers among them (0 where absent).
//
// Letters: B rows, L steps, E channels, N states, K taps, R rows of a single step, D width of the model.
// Every tensor with channels innermost has a contiguous last dimension; `row` and `step` are its strides
// in elements. Python has checked types, shapes, strides and devices before a pointer gets here.
#pragma once

#include <cstdint>

namespace chartscan {

struct bf16 {
    uint16_t bits;
};

enum Type : int64_t { FLOAT32 = 0, BFLOAT16 = 1 };

constexpr int64_t CHECKPOINT_STEPS = 32;    // a state is kept before each such stretch of steps
constexpr int64_t CHECKPOINT_CHANNELS = 16; // channels of a checkpoint are rounded up to a multiple

struct Strided { // (B, L, .)
    int64_t data, row, step;
};

struct ScanInputs {
    int64_t type; // of x, dt, B, C, z, y and their gradients; all else is float32
    int64_t batch, length, channels, states;
    Strided x, dt, B, C, z;             // z may be absent
    int64_t A, D, dt_bias, state;       // (E, N); (E) or 0; (E) or 0; (B, E, N) or 0
    int64_t lengths;                    // (B) int64 or 0
    int64_t read_offsets;               // (B + 1) int64 or 0: whose states to give, sorted by row and position
    int64_t read_positions, read_places; // (R) int64
    int64_t threads;
};

struct ScanForward {
    ScanInputs in;
    Strided y;
    int64_t last;        // (B, E, N)
    int64_t states_read; // (R, E, N) or 0
    int64_t checkpoints; // (B, ceil(L / 32), E up to 16, N) floats or 0
};

struct ScanBackward {
    ScanInputs in;
    int64_t checkpoints;
    Strided dy;
    int64_t dlast, dstates_read; // (B, E, N) or 0; (R, E, N) or 0
    Strided dx, ddt, dB, dC, dz; // dz absent where z is
    int64_t dA, dD, ddt_bias;    // (E, N); (E) or 0; (E) or 0
    int64_t dstate;              // (B, E, N) or 0
};

struct ConvInputs {
    int64_t type; // of x, y and their gradients; all else is float32
    int64_t batch, length, channels, taps;
    Strided x;
    int64_t weight, bias; // (E, K); (E) or 0
    int64_t window;       // (B, K - 1, E) inputs before the first step, oldest first, or 0
    int64_t silu;         // 1: the result goes through SiLU
    int64_t threads;
};

struct ConvForward {
    ConvInputs in;
    Strided y;
};

struct ConvBackward {
    ConvInputs in;
    Strided dy, dx;
    int64_t dweight, dbias, dwindow; // (E, K); (E) or 0; (B, K - 1, E) or 0
};

struct BlockPointers { // one block of a stack, all float32, contiguous, linear weights as (out, in)
    int64_t norm;                       // (D)
    int64_t in_proj;                    // (2 E, D): inputs of the convolution, then the gate
    int64_t conv_weight, conv_bias;     // (E, K), (E)
    int64_t x_proj;                     // (rank + 2 N, E): low-rank dt, then B, then C
    int64_t dt_proj, dt_bias;           // (E, rank), (E)
    int64_t A_log, D;                   // (E, N), (E); A = -exp(A_log)
    int64_t out_proj;                   // (D, E)
    int64_t window, window_after;       // (R, K - 1, E), oldest first; may be the same memory
    int64_t scan, scan_after;           // (R, E, N); may be the same memory
};

struct StackStep {
    int64_t rows, width, channels, states, taps, rank, blocks;
    int64_t table; // BlockPointers[blocks]
    int64_t x, y;  // (R, D): residual stream before and after; may be the same memory
    int64_t threads;
};

} // namespace chartscan
