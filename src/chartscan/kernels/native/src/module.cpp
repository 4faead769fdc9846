// The Python module: each function takes one flat tuple of integers, the fields of its struct in arguments.h.
//
// Limited API of Python 3.11, so one binary serves every later version. Only the number of fields is checked
// here; types, shapes, strides and devices were checked in Python. The GIL is released during the work.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"
#include "threads.h"

#include <atomic>
#include <cstring>
#include <exception>
#include <new>

#ifdef _MSC_VER
#include <immintrin.h>
#include <intrin.h>
#endif

#define STRING_(x) #x
#define STRING(x) STRING_(x)

namespace {

using namespace chartscan;

#if CHARTSCAN_X86 && defined(_MSC_VER)

// Bits of CPUID leaf 7 (EBX) and of XCR0, by Intel's manual, volume 2, CPUID, and volume 1, chapter 13.
constexpr int FMA_OSXSAVE_AVX = 1 << 12 | 1 << 27 | 1 << 28;          // leaf 1, ECX
constexpr int AVX2 = 1 << 5;                                          // leaf 7, EBX
constexpr int AVX512_F_DQ_BW_VL = static_cast<int>(0xc0030000u);      // leaf 7, EBX: bits 16, 17, 30, 31
constexpr unsigned long long YMM = 0x06, ZMM = 0xe6;                  // what the system saves

bool has(int leaf, int register_, int bits) {
    int words[4];
    __cpuid(words, 0);
    if (words[0] < leaf) return false;
    __cpuidex(words, leaf, 0);
    return (words[register_] & bits) == bits;
}

bool saves(unsigned long long bits) { return (_xgetbv(0) & bits) == bits; }

bool has_avx2() { return has(1, 2, FMA_OSXSAVE_AVX) && has(7, 1, AVX2) && saves(YMM); }
bool has_avx512() { return has_avx2() && has(7, 1, AVX512_F_DQ_BW_VL) && saves(ZMM); }

#elif CHARTSCAN_X86

// These also ask whether the operating system saves the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#endif

bool always() { return true; }

struct Variant {
    const Kernels* kernels;
    bool (*usable)();
};

const Variant VARIANTS[] = { // best first
#if CHARTSCAN_X86
#ifndef CHARTSCAN_NO_AVX512
    {&avx512_kernels, has_avx512},
#endif
#ifndef CHARTSCAN_NO_AVX2
    {&avx2_kernels, has_avx2},
#endif
#elif CHARTSCAN_ARM
    {&neon_kernels, always},
#endif
    {&portable_kernels, always},
};

const Kernels* best() {
    for (const Variant& v : VARIANTS)
        if (v.usable()) return v.kernels;
    return &portable_kernels;
}

std::atomic<const Kernels*> chosen{nullptr};

const Kernels& kernels() {
    if (!chosen) chosen = best();
    return *chosen;
}

// Runs `work` without the GIL; false, with a Python error set, if it throws.
template <class Work>
bool without_gil(const Work& work) {
    PyObject* kind = nullptr;
    char message[200] = "";
    PyThreadState* thread = PyEval_SaveThread();
    try {
        work();
    } catch (const std::bad_alloc&) {
        kind = PyExc_MemoryError;
        std::strncpy(message, "no memory for the working space of a kernel", sizeof message - 1);
    } catch (const std::exception& error) {
        kind = PyExc_RuntimeError;
        std::strncpy(message, error.what(), sizeof message - 1);
    } catch (...) {
        kind = PyExc_RuntimeError;
        std::strncpy(message, "a kernel failed", sizeof message - 1);
    }
    PyEval_RestoreThread(thread);
    if (kind) PyErr_SetString(kind, message);
    return !kind;
}

// Fills a struct of 64-bit integers from a tuple of as many.
template <class Arguments>
bool read(PyObject* tuple, Arguments& arguments) {
    constexpr Py_ssize_t COUNT = sizeof(Arguments) / sizeof(int64_t);
    static_assert(sizeof(Arguments) == COUNT * sizeof(int64_t), "fields are 64-bit integers");
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != COUNT) {
        PyErr_Format(PyExc_TypeError, "expected a tuple of %zd integers", COUNT);
        return false;
    }
    int64_t fields[COUNT];
    for (Py_ssize_t i = 0; i < COUNT; i++) {
        fields[i] = PyLong_AsLongLong(PyTuple_GetItem(tuple, i));
        if (fields[i] == -1 && PyErr_Occurred()) return false;
    }
    std::memcpy(&arguments, fields, sizeof arguments);
    return true;
}

template <class Arguments>
PyObject* call(PyObject* tuple, void (*const Kernels::*function)(const Arguments&)) {
    Arguments arguments;
    if (!read(tuple, arguments)) return nullptr;
    const auto work = kernels().*function;
    if (!without_gil([&] { work(arguments); })) return nullptr;
    Py_RETURN_NONE;
}

PyObject* scan_forward(PyObject*, PyObject* tuple) { return call(tuple, &Kernels::scan_forward); }
PyObject* scan_backward(PyObject*, PyObject* tuple) { return call(tuple, &Kernels::scan_backward); }
PyObject* conv_forward(PyObject*, PyObject* tuple) { return call(tuple, &Kernels::conv_forward); }
PyObject* conv_backward(PyObject*, PyObject* tuple) { return call(tuple, &Kernels::conv_backward); }
PyObject* stack_step(PyObject*, PyObject* tuple) { return call(tuple, &Kernels::stack_step); }

PyObject* isas(PyObject*, PyObject*) {
    PyObject* names = PyList_New(0);
    for (const Variant& v : VARIANTS) {
        if (!names || !v.usable()) continue;
        PyObject* name = PyUnicode_FromString(v.kernels->name);
        if (!name || PyList_Append(names, name) < 0) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

PyObject* isa(PyObject*, PyObject*) { return PyUnicode_FromString(kernels().name); }

PyObject* set_isa(PyObject*, PyObject* wanted) {
    for (const Variant& v : VARIANTS) {
        PyObject* name = PyUnicode_FromString(v.kernels->name);
        if (!name) return nullptr;
        const int equal = PyObject_RichCompareBool(wanted, name, Py_EQ);
        Py_DECREF(name);
        if (equal < 0) return nullptr;
        if (equal && v.usable()) {
            chosen = v.kernels;
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_ValueError, "instruction set %R cannot be used on this machine; see isas()", wanted);
}

PyObject* runtime(PyObject*, PyObject*) { return PyUnicode_FromString(thread_runtime().c_str()); }

PyObject* fma_peak(PyObject*, PyObject* arguments) {
    long long threads = 0, milliseconds = 0;
    if (!PyArg_ParseTuple(arguments, "LL", &threads, &milliseconds)) return nullptr;
    double peak = 0;
    if (!without_gil([&] { peak = kernels().fma_peak(threads, milliseconds); })) return nullptr;
    return PyFloat_FromDouble(peak);
}

PyMethodDef METHODS[] = {
    {"scan_forward", scan_forward, METH_O, "Selective scan: struct ScanForward."},
    {"scan_backward", scan_backward, METH_O, "Gradients of the selective scan: struct ScanBackward."},
    {"conv_forward", conv_forward, METH_O, "Depthwise causal convolution: struct ConvForward."},
    {"conv_backward", conv_backward, METH_O, "Gradients of the convolution: struct ConvBackward."},
    {"stack_step", stack_step, METH_O, "One step of a stack of blocks: struct StackStep."},
    {"isas", isas, METH_NOARGS, "Instruction sets usable on this machine, best first."},
    {"isa", isa, METH_NOARGS, "The instruction set in use."},
    {"set_isa", set_isa, METH_O, "Uses another instruction set from now on; ValueError where it cannot be."},
    {"runtime", runtime, METH_NOARGS, "Whose threads a call would use now."},
    {"fma_peak", fma_peak, METH_VARARGS, "(threads, milliseconds) -> measured multiply-adds a second."},
    {nullptr, nullptr, 0, nullptr},
};

// What it was built of, so that Python can notice an extension older than its sources (see setup.py).
int fill(PyObject* module) {
    if (PyModule_AddStringConstant(module, "ARGUMENTS", STRING(CHARTSCAN_ARGUMENTS)) < 0) return -1;
    return PyModule_AddStringConstant(module, "SOURCES", STRING(CHARTSCAN_SOURCES));
}

PyModuleDef_Slot SLOTS[] = {{Py_mod_exec, reinterpret_cast<void*>(fill)}, {0, nullptr}};

PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_native", "Kernels for the CPU. Use chartscan.kernels.", 0, METHODS, SLOTS, nullptr, nullptr, nullptr,
};

} // namespace

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&MODULE); }
