#define CHARTSCAN_ISA portable
#define CHARTSCAN_PORTABLE 1
#include "variant.inc"
