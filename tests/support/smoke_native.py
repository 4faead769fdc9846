"""Smoke check of an installed wheel: every build of the scan equals the loop."""

import torch

from chartscan.kernels import native, selective_scan


def main() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = ((2, 40, 9), (2, 40, 9), (9, 16), (2, 40, 16), (2, 40, 16))
    x, dt, A, B, C = (torch.randn(shape, generator=g) for shape in shapes)
    inputs = (x, dt, -A.exp(), B, C)
    expected = selective_scan(*inputs, backend="reference")[0]
    print(f"{native.library().__file__}: {native.builds()}, threads of {native.library().runtime()}")
    for name in native.builds():
        with native.build(name):
            torch.testing.assert_close(selective_scan(*inputs, backend="native")[0], expected)


if __name__ == "__main__":
    main()
