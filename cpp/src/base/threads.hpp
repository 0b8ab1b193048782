// The only place that knows about threads: one OpenMP parallel region per call.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace regard {

/// Threads a call would use by default: OpenMP's own number (OMP_NUM_THREADS, omp_set_num_threads),
/// 1 inside another parallel region.
int default_threads();

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
