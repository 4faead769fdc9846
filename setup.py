"""Builds the optional C++ extension; everything else about the package is in pyproject.toml.

One extension holds the kernels for several instruction sets: each variant file is compiled with its own
flags, and the best is chosen at run time. Where nothing can be compiled the install succeeds without the
extension and says so in one line, unless CHARTSCAN_REQUIRE_NATIVE=1 (used for wheels). CHARTSCAN_SANITIZE=1
builds with the address and undefined-behaviour sanitizers (`make sanitize`).
"""

import hashlib
import os
import platform
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

NATIVE = Path("src/chartscan/kernels/native/src")
SUFFIXES = (".cpp", ".h", ".inc")  # as in native/library.py
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")  # free-threaded Python has no stable ABI yet
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# Instruction sets beside the baseline, in the order in which they are linked: narrow before wide, all after
# the sources compiled for the baseline. What several objects hold (templates of the standard library) is
# taken from the first, so that nothing wide runs on a machine without it.
X86_64 = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"],
}
X86_64_MSVC = {"avx2": ["/arch:AVX2"], "avx512": ["/arch:AVX512"]}  # untested
ARM64 = {"neon": list[str]()}

WARNING = (
    "WARNING: chartscan is installed WITHOUT its native kernels: {reason}. Everything works, but the scan of "
    "sequence models runs in PyTorch, 6 to 10 times slower. Install a C++17 compiler (Debian: apt install "
    "g++; macOS: xcode-select --install; Windows: Visual Studio Build Tools) and install again, with "
    "--no-cache-dir --force-reinstall."
)


def switched_on(name: str) -> bool:
    return os.environ.get(name) == "1"


def digest(files: list[Path]) -> str:
    """Names the content of `files`; native/library.py computes the same."""
    return "sha_" + hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def machine(plat_name: str) -> str:
    """`x86_64`, `arm64` or another, of the machine that is built for."""
    name = platform.machine() if plat_name.endswith("universal2") else plat_name
    if name.lower().endswith(("x86_64", "amd64")):
        return "x86_64"
    return "arm64" if name.lower().endswith(("aarch64", "arm64")) else name


def compile_flags(msvc: bool, sanitize: bool) -> list[str]:
    """Flags of every file. No fast-math: reassociation would delete the rounding inside exp2."""
    if msvc:
        return ["/std:c++17", "/O2", "/EHsc", "/fp:precise", "/W3"]
    warnings = ["-Wall", "-Wextra", "-Wno-maybe-uninitialized"]  # GCC 12 suspects its own intrinsics
    flags = ["-std=c++17", "-fvisibility=hidden", "-fno-math-errno", *warnings]
    if sanitize:
        return [*flags, "-O1", "-g1", "-fno-omit-frame-pointer", *SANITIZERS]
    return [*flags, "-O3", "-g0"]


def reason(error: Exception) -> str:
    """Why nothing was compiled, in a few words."""
    if isinstance(error.__context__, FileNotFoundError):
        return f"no C++ compiler was found ({error})"
    if isinstance(error, (CompileError, LinkError)):
        return "the compiler failed, its messages are above"
    return " ".join(str(error).split())


class BuildNative(build_ext):
    """Compiles each variant with its own flags, and fails softly."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # such as no MSVC
            self._give_up(error, self.extensions[0])

    def build_extension(self, ext: Extension) -> None:
        try:
            self._add_variants(ext)
            super().build_extension(ext)
        except Exception as error:
            self._give_up(error, ext)

    def _give_up(self, error: Exception, ext: Extension) -> None:
        if switched_on("CHARTSCAN_REQUIRE_NATIVE"):
            raise error
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # an older build would be packed
        print(WARNING.format(reason=reason(error)), file=sys.stderr)

    def _add_variants(self, ext: Extension) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        sanitize = switched_on("CHARTSCAN_SANITIZE")
        target = machine(self.plat_name)
        variants = {"x86_64": X86_64_MSVC if msvc else X86_64, "arm64": ARM64}.get(target, {})
        ext.extra_compile_args = compile_flags(msvc, sanitize)
        ext.extra_link_args = SANITIZERS if sanitize else []
        ext.define_macros += [("CHARTSCAN_X86", "1")] if target == "x86_64" else []
        ext.define_macros += [("CHARTSCAN_ARM", "1")] if target == "arm64" else []

        def compiled(variant: tuple[str, list[str]]) -> list[str]:
            name, flags = variant
            source, arguments = str(NATIVE / f"{name}.cpp"), ext.extra_compile_args + flags
            try:
                return self.compiler.compile([source], self.build_temp, extra_postargs=arguments)
            except CompileError as error:
                absent = isinstance(error.__context__, FileNotFoundError)
                if absent or switched_on("CHARTSCAN_REQUIRE_NATIVE"):
                    raise
                print(f"WARNING: this compiler makes no {name} kernels: {' '.join(flags)}", file=sys.stderr)
                ext.define_macros.append((f"CHARTSCAN_NO_{name.upper()}", "1"))
                return []

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects = [path for paths in pool.map(compiled, variants.items()) for path in paths]


def extension() -> Extension:
    files = sorted(file for file in NATIVE.iterdir() if file.suffix in SUFFIXES)
    return Extension(
        "chartscan.kernels.native._native",
        sources=[str(NATIVE / name) for name in ("module.cpp", "threads.cpp", "portable.cpp")],
        depends=[str(file) for file in files],
        define_macros=[
            *([("Py_LIMITED_API", "0x030B0000")] if ABI3 else []),
            ("CHARTSCAN_ARGUMENTS", digest([NATIVE / "arguments.h"])),
            ("CHARTSCAN_SOURCES", digest(files)),
        ],
        py_limited_api=ABI3,
        optional=not switched_on("CHARTSCAN_REQUIRE_NATIVE"),
        language="c++",
    )


if sys.platform == "darwin":  # Python's own flags may ask for two machines at once; the variants are for one
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")

setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildNative},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
