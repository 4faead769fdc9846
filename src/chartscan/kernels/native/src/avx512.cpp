#define CHARTSCAN_ISA avx512
#define CHARTSCAN_AVX512 1
#include "variant.inc"
