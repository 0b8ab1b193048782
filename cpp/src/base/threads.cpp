#include "base/threads.hpp"

#ifndef _WIN32
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "regard/attention.hpp"
#include "regard/error.hpp"

namespace regard {
namespace {

std::atomic<bool> forked = false;
std::atomic<int> set_threads = 0;  // 0: not set

#ifndef _WIN32
// Runs when the library is loaded: later would miss a fork that follows another library's regions.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
#endif

/// The first number of OMP_NUM_THREADS; 0 if there is none.
int openmp_variable() {
  static const int number = [] {
    const char* text = std::getenv("OMP_NUM_THREADS");
    return text == nullptr ? 0 : static_cast<int>(std::strtol(text, nullptr, 10));
  }();
  return number;
}

/// Read once: a call of microseconds has no time for files.
std::optional<double> quota() {
  static const std::optional<double> found = cgroup_quota();
  return found;
}

/// A part of a CPU that a whole thread cannot have is still used.
int threads_of(double quota) {
  return std::max(1, static_cast<int>(std::ceil(std::min(quota, 1e6))));
}

bool runs_alone() {
#ifdef _OPENMP
  return must_run_serially() || omp_in_parallel();
#else
  return true;
#endif
}

int openmp_threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

/// What is found. OMP_NUM_THREADS is meant as it is said, quota or not.
int found_threads() {
  int threads = std::min(openmp_threads(), thread_limit());
  if (quota() && openmp_variable() <= 0) threads = std::min(threads, threads_of(*quota()));
  return threads;
}

std::string reason(const ThreadChoice& found) {
  if (must_run_serially()) return "the child of a fork runs serially";
  if (runs_alone())
    return openmp_runtime().empty() ? "built without OpenMP" : "inside a parallel region";
  if (found.set && found.threads == *found.set) return "set_num_threads";
  if (found.limit && found.threads == *found.limit) return "OMP_THREAD_LIMIT";
  if (found.threads < found.openmp) {
    char text[64];
    std::snprintf(text, sizeof text, "cgroup quota of %.3g CPUs", found.quota.value_or(0));
    return text;
  }
  if (found.openmp == openmp_variable()) return "OMP_NUM_THREADS";
  if (found.openmp == found.processors) return "CPUs that this process may run on";
  return "OpenMP, as omp_set_num_threads or threadpoolctl set it";
}

}  // namespace

bool must_run_serially() { return forked.load(std::memory_order_relaxed); }

int thread_limit() {
#ifdef _OPENMP
  return omp_get_thread_limit();
#else
  return 1;
#endif
}

int default_threads() {
  if (runs_alone()) return 1;
  const int set = set_threads.load(std::memory_order_relaxed);
  return set > 0 ? std::min(set, thread_limit()) : found_threads();
}

int default_thread_count() { return default_threads(); }

void set_num_threads(std::optional<std::int64_t> threads) {
  if (threads && *threads < 1) {
    throw ValueError("set_num_threads: num_threads is " + std::to_string(*threads) +
                     ".\n  Give at least 1, or None for what is found.");
  }
  set_threads.store(static_cast<int>(std::min(threads.value_or(0), kMostThreads)),
                    std::memory_order_relaxed);
}

ThreadChoice thread_choice() {
  ThreadChoice found;
  const int set = set_threads.load(std::memory_order_relaxed);
  if (set > 0) found.set = set;
  found.threads = default_threads();
  found.openmp = openmp_threads();
  found.quota = quota();
#ifdef _OPENMP
  found.processors = omp_get_num_procs();
  if (thread_limit() < kMostThreads) found.limit = thread_limit();
#endif
  found.reason = reason(found);
  return found;
}

std::string openmp_runtime() {
#if !defined(_OPENMP)
  return {};
#elif defined(_MSC_VER) && !defined(__clang__)
  return "vcomp";
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
