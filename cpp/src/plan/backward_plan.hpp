// How gradients are computed: blocks of query rows, and the order in which they take turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/tiling.hpp"

namespace regard {

/// A block of rows, and the one that is before it in turn at what they share; -1: none.
struct BackwardJob {
  Unit rows;
  std::int64_t previous;
  std::int64_t kv_head;  ///< whose dK and dV it adds to, counted over the batch
};

struct BackwardPlan {
  Tiling tiling;
  /// In the order in which their sums are added up, each after those it may wait for. Depends on
  /// shapes and options alone.
  std::vector<BackwardJob> jobs;
  /// The order in which threads take the jobs: a few kv heads at a time, so that what was read and
  /// added to for one block of rows is in the cache for the next.
  std::vector<std::size_t> order;
  bool all_in_turn;  ///< all jobs share a bias's gradient, not only those of one kv head
  int threads;
  std::size_t scratch_bytes;
};

/// What of the gradients the plan depends on.
struct WantedGradients {
  bool bias;
  std::int64_t table_size;  ///< of the position bias; 0: not wanted
};

BackwardPlan plan_backward(const CheckedProblem& problem, const WantedGradients& wanted);

}  // namespace regard
