// How gradients are computed: blocks of query rows, and the order in which they take turns.
#pragma once

#include <vector>

#include "plan/plan.hpp"
#include "validate/geometry.hpp"

namespace regard {

/// A block of rows, and the one that is before it in turn at what they share; -1: none.
struct BackwardJob {
  Unit rows;
  std::int64_t previous;
  std::int64_t kv_head;  ///< whose dK and dV it adds to, counted over the batch
};

/// The jobs in the order in which their sums are added up, each after those it may wait for. Also
/// sets the geometry's tile of keys. Depends on shapes and options alone. `all_in_turn`: all jobs
/// share something, not only those of one kv head.
std::vector<BackwardJob> plan_backward(Geometry& geometry, bool all_in_turn);

/// The order in which `threads` threads take the jobs: a few kv heads at a time, so that what was
/// read and added to for one block of rows is in the cache for the next.
std::vector<std::size_t> order_of(const std::vector<BackwardJob>& jobs, int threads,
                                  bool all_in_turn);

}  // namespace regard
