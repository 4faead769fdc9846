// Threads borrowed from the OpenMP runtime that PyTorch has loaded; nothing is linked against OpenMP, so no
// second runtime can enter the process. Where there is none (macOS, Windows), std::thread for each call.
#pragma once

#include <cstdint>
#include <string>

namespace chartscan {

using Task = void (*)(const void* body, int64_t task);

// Runs `task(body, i)` for every i in [0, tasks) on at most `threads` threads and returns when all are done.
// Any thread may take any task, in any order: results must not depend on it. An exception in a task is thrown
// here, in the calling thread, once the others have ended; tasks not yet begun are then left out.
void run_tasks(int64_t tasks, int64_t threads, Task task, const void* body);

// The same with a callable: parallel_for(rows, threads, [&](int64_t row) { ... });
template <class Body>
void parallel_for(int64_t tasks, int64_t threads, const Body& body) {
    run_tasks(
        tasks, threads, [](const void* b, int64_t task) { (*static_cast<const Body*>(b))(task); }, &body);
}

// Whose threads a call would use now, such as "libgomp.so.1 of torch" or "std::thread".
std::string thread_runtime();

} // namespace chartscan
