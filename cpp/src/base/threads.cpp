#include "base/threads.hpp"

#include <pthread.h>

#include <atomic>

#include "regard/attention.hpp"

namespace regard {
namespace {

std::atomic<bool> forked = false;

// Runs when the library is loaded: later would miss a fork that follows another library's regions.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });

}  // namespace

bool must_run_serially() { return forked.load(std::memory_order_relaxed); }

int default_threads() {
#ifdef _OPENMP
  return must_run_serially() || omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

std::string openmp_runtime() {
#if !defined(_OPENMP)
  return {};
#elif defined(__clang__)
  return "libomp";
#else
  return "libgomp";
#endif
}

std::string openmp_version() {
#ifdef _OPENMP
  return std::to_string(_OPENMP);
#else
  return {};
#endif
}

}  // namespace regard
