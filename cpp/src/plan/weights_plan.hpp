// How rows of the weights are formed: runs of neighbouring rows, head by head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/tiling.hpp"

namespace regard {

/// Rows [first, first + count) of the queries, written from row `place` of the output on.
struct Run {
  std::int64_t first, count, place;
};

struct WeightsPlan {
  Tiling tiling;
  std::vector<Run> runs;  ///< of each head
  std::int64_t units;     ///< one a head and run
  int threads;
  std::size_t scratch_bytes;
};

/// `rows` are numbers of queries in any order.
WeightsPlan plan_weights(const CheckedProblem& problem, std::span<const std::int64_t> rows);

}  // namespace regard
