#include "threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace chartscan {
namespace {

// libgomp's entry point behind `#pragma omp parallel`, part of its ABI since GCC 4.9:
// runs `function(data)` on `threads` threads, the caller among them, and waits for all.
using GompParallel = void (*)(void (*function)(void*), void* data, unsigned threads, unsigned flags);

#ifdef _WIN32

GompParallel gomp_parallel() { return nullptr; }

#else

// A forked child has inherited the record of libgomp's workers but not the workers, and would wait for them
// forever. It uses std::thread instead.
std::atomic<bool> forked{false};

void* find_gomp_parallel() {
    static const int watching = pthread_atfork(nullptr, nullptr, [] { forked = true; });
    static std::atomic<void*> found{nullptr};
    if (watching != 0 || forked) return nullptr;
    void* symbol = found; // PyTorch may be imported after us, so an absence is not remembered
    if (!symbol) found = symbol = dlsym(RTLD_DEFAULT, "GOMP_parallel");
    return symbol;
}

GompParallel gomp_parallel() { return reinterpret_cast<GompParallel>(find_gomp_parallel()); }

#endif

// Tasks of one call, taken one by one.
class Queue {
public:
    Queue(int64_t tasks, Task task, const void* body) : tasks_(tasks), task_(task), body_(body) {}

    // Takes tasks until none is left. Nothing may be thrown through the runtime's C code.
    void work() noexcept {
        try {
            for (int64_t i = next_++; i < tasks_; i = next_++) task_(body_, i);
        } catch (...) {
            next_ = tasks_;
            if (!failed_.exchange(true)) error_ = std::current_exception();
        }
    }

    // After all threads have ended.
    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }

private:
    const int64_t tasks_;
    const Task task_;
    const void* const body_;
    std::atomic<int64_t> next_{0};
    std::atomic<bool> failed_{false};
    std::exception_ptr error_;
};

void work_on_new_threads(Queue& queue, int64_t threads) {
    std::vector<std::thread> helpers;
    try {
        helpers.reserve(threads - 1);
        while (static_cast<int64_t>(helpers.size()) < threads - 1) helpers.emplace_back([&] { queue.work(); });
    } catch (const std::exception&) { // the system gives no more threads: those there are do it all
    }
    queue.work();
    for (auto& helper : helpers) helper.join();
}

} // namespace

void run_tasks(int64_t tasks, int64_t threads, Task task, const void* body) {
    Queue queue(tasks, task, body);
    if (std::min(threads, tasks) <= 1) {
        queue.work();
    } else if (GompParallel parallel = gomp_parallel()) {
        // All threads, even if tasks are fewer: libgomp ends the threads that a team does not need, and PyTorch's
        // next operation would have to start them again.
        parallel([](void* q) { static_cast<Queue*>(q)->work(); }, &queue, static_cast<unsigned>(threads), 0);
    } else {
        work_on_new_threads(queue, std::min(threads, tasks));
    }
    queue.rethrow();
}

std::string thread_runtime() {
#ifndef _WIN32
    Dl_info info;
    if (void* symbol = find_gomp_parallel(); symbol && dladdr(symbol, &info) && info.dli_fname) {
        const std::string path = info.dli_fname;
        const bool of_torch = path.find("/torch/") != std::string::npos || path.find("/torch.libs/") != std::string::npos;
        return path.substr(path.find_last_of('/') + 1) + (of_torch ? " of torch" : "");
    }
#endif
    return "std::thread";
}

} // namespace chartscan
