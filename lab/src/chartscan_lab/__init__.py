"""What measures chartscan and is not shipped with it: studies of published tables, and benchmarks."""
