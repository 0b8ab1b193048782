// How many threads a call uses when it is not told.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace regard {

/// What was found, and what decided.
struct ThreadChoice {
  int threads = 1;              ///< of a call that is not told
  std::string reason;           ///< e.g. "OMP_NUM_THREADS"
  std::optional<int> set;       ///< by set_num_threads
  int openmp = 1;               ///< OpenMP's own number: OMP_NUM_THREADS, omp_set_num_threads
  int processors = 1;           ///< that this process may run on
  std::optional<int> limit;     ///< OMP_THREAD_LIMIT
  std::optional<double> quota;  ///< of processors, of the cgroups that this process is in
};

ThreadChoice thread_choice();

/// ThreadChoice::threads.
int default_thread_count();

/// Makes later calls, from any thread, use so many threads; none: what is found.
/// @throws ValueError for less than 1.
void set_num_threads(std::optional<std::int64_t> threads);

/// The smallest CPU quota of the Linux control groups that the process is in and of those around
/// them: 1.5 is 150 ms of every 100. None: there is no quota, or no Linux. `root` is in place of
/// "/".
std::optional<double> cgroup_quota(const std::string& root = "");

}  // namespace regard
