"""`python -m chartscan.kernels.native`: one line that says which kernels this machine gets."""

from chartscan.kernels.native.library import library, warning

if __name__ == "__main__":
    print(warning() or f"native kernels: {library().isa()}, threads of {library().runtime()}")
