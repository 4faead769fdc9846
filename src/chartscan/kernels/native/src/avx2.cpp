#define CHARTSCAN_ISA avx2
#define CHARTSCAN_AVX2 1
#include "variant.inc"
