// The only place that knows about threads: one OpenMP parallel region per call.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace regard {

/// More than any machine has cores; OpenMP would try them all.
inline constexpr std::int64_t kMostThreads = 1024;

/// Threads a call uses when it is not told: those of set_num_threads; or else OpenMP's own number
/// (affinity, OMP_NUM_THREADS, omp_set_num_threads), no more than the cgroups' quota without
/// OMP_NUM_THREADS. 1 inside another parallel region.
int default_threads();

/// OMP_THREAD_LIMIT, which OpenMP keeps whatever is asked for.
int thread_limit();

/// True when a parallel region would not be safe: libgomp's pool does not survive fork, and a child
/// that enters a region hangs. Children of a process that loaded the library run serially.
bool must_run_serially();

/// Calls body(index, thread) once for every index in [0, count), in any order, on `threads`
/// threads; thread is in [0, threads). The body must not throw.
template <class Body>
void parallel_for(std::int64_t count, int threads, const Body& body) {
#ifdef _OPENMP
  if (threads > 1 && !must_run_serially()) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (std::int64_t index = 0; index < count; ++index) body(index, omp_get_thread_num());
    return;
  }
#endif
  for (std::int64_t index = 0; index < count; ++index) body(index, 0);
}

}  // namespace regard
