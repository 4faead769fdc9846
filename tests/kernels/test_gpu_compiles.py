"""Every kernel compiles for real GPUs, none needed: the interpreter accepts what the compiler refuses."""

import re
import subprocess

import pytest
import torch

from scan_inputs import SEQUENCES, scan_inputs

triton = pytest.importorskip("triton", reason="Triton is not made for this platform")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from chartscan.kernels.arguments import sorted_reads  # noqa: E402
from chartscan.kernels.gpu import (  # noqa: E402
    add_partials,
    backward,
    forward,
    inputs,
    read_states,
    step,
)

MODULES = (forward, backward, read_states, add_partials, step)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64"}
ALIGNED = [["tt.divisibility", 16]]


def source(kernel, arguments):
    """What Triton would compile when called with `arguments`."""
    types, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        name, value = parameter.name, arguments[parameter.name]
        plain = parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (not plain and isinstance(value, int) and value == 1):
            types[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            types[name], attributes[(i,)] = POINTERS[value.dtype], ALIGNED
        else:
            types[name] = "i32"
            if not plain and value % 16 == 0:
                attributes[(i,)] = ALIGNED
    return ASTSource(kernel, types, constants, attributes)


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Wrappers compile instead of launching; gives (module, compiled kernel) of each."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(inputs, "interpreted", lambda: True)  # lets tensors on the processor through

    def compile_all(capability, calls):
        found = []

        def launch(kernel, grid, device, warps=1, **arguments):
            target = GPUTarget("cuda", capability, 32)
            done = triton.compile(source(kernel, arguments), target=target, options={"num_warps": warps})
            found.append((kernel.__module__.rsplit(".", 1)[1], done))

        for module in MODULES:
            monkeypatch.setattr(module, "launch", launch)
        calls()
        return found

    return compile_all


def run_all(dtype, channels, states, everything):
    """Every wrapper once, with all optional inputs or with none."""
    without = () if everything else ("D", "z", "dt_bias", "state")
    tensors = dict.fromkeys(("D", "z", "dt_bias", "state"))
    tensors |= scan_inputs(2, 40, channels, states, without=without)
    tensors = {k: None if v is None else v.detach() for k, v in tensors.items()}
    tensors |= {k: tensors[k].to(dtype) for k in SEQUENCES if tensors[k] is not None}
    one = {k: v[:, :1] if k in SEQUENCES and v is not None else v for k, v in tensors.items()}
    rows, positions = torch.tensor([1, 0]), torch.tensor([3, 39])
    given = inputs.checked(**tensors, lengths=torch.tensor([40, 9]) if everything else None)
    y, last, checkpoints = forward.forward(given, keep=everything)
    if not everything:
        checkpoints = torch.empty(given.checkpoint_shape())
    states_read = read_states.read_states(given, checkpoints, rows, positions)
    reads = sorted_reads(rows, positions, 2, 40)
    extra = (last, states_read, reads) if everything else (None, None, None)
    backward.backward(given, checkpoints, y, *extra)
    step.step(inputs.checked(**one, lengths=None))


def check_complete(found):
    """All kernels are there, as code for the device."""
    assert {name for name, _ in found} == {module.__name__.rsplit(".", 1)[1] for module in MODULES}
    assert all(kernel.asm["cubin"] for _, kernel in found)


SHAPES = {
    "usual": (torch.float32, 64, 16, True),
    "bfloat16": (torch.bfloat16, 64, 16, False),
    "odd": (torch.bfloat16, 5, 3, True),
    "one": (torch.float32, 1, 1, False),
}
SAMPLE = ((80, "odd"), (90, "one"))


@pytest.mark.parametrize(
    ("capability", "shape"),
    [
        pytest.param(capability, shape, marks=[] if (capability, shape) in SAMPLE else pytest.mark.soak)
        for capability in (80, 90)
        for shape in SHAPES
    ],
)
def test_kernels_compile_for_compute_capability(compiled, capability, shape):
    check_complete(compiled(capability, lambda: run_all(*SHAPES[shape])))


@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.soak), 90])
def test_states_stay_in_registers(compiled, capability, tmp_path):
    found = compiled(capability, lambda: run_all(*SHAPES["usual"]))
    check_complete(found)
    for name, kernel in found:
        spilled = spilled_bytes(kernel.asm["ptx"], capability, tmp_path)
        assert spilled <= 128, f"{name} spills {spilled} bytes a thread"
        if name in ("forward", "read_states"):
            assert kernel.metadata.shared == 0, f"{name} converts layouts through shared memory"


def spilled_bytes(ptx, capability, folder):
    path = folder / "kernel.ptx"
    path.write_text(ptx)
    name = re.search(r"\.target (sm_\w+)", ptx).group(1)
    command = [
        triton.knobs.nvidia.ptxas.path,
        "-v",
        f"--gpu-name={name}",
        str(path),
        "-o",
        str(folder / "out"),
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return max(int(count) for count in re.findall(r"(\d+) bytes spill", told))


def test_a_kernel_that_only_the_interpreter_takes_does_not_compile(compiled, monkeypatch):
    """Planted: a power of two is required of tiles, which NumPy does not mind."""
    from chartscan.kernels.gpu import tiles

    monkeypatch.setattr(tiles, "padded", lambda states: states)
    with pytest.raises(triton.CompilationError):
        compiled(80, lambda: run_all(torch.float32, 5, 3, True))
