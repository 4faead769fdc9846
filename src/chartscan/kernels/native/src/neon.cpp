#define CHARTSCAN_ISA neon
#define CHARTSCAN_NEON 1
#include "variant.inc"
