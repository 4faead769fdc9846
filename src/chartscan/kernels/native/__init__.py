"""Kernels for the CPU in C++, where they were built: see `library` for how they are found."""

from chartscan.kernels.native.library import available, build, builds, library, warn_once, why_not

__all__ = ["available", "build", "builds", "library", "warn_once", "why_not"]
