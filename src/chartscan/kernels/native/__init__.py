"""Kernels for the CPU in C++, where built; `library` finds them."""

from chartscan.kernels.native.library import available, build, builds, library, warn_once, why_not

__all__ = ["available", "build", "builds", "library", "warn_once", "why_not"]
