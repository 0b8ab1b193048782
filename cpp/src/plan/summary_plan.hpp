// How a summary of the weights is formed: sums over rows by chunks of blocks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan/tiling.hpp"

namespace regard {

struct SummaryPlan {
  Tiling tiling;
  std::int64_t chunks;  ///< of the blocks of a head, one every `chunks` blocks
  std::int64_t units;   ///< one a head and chunk
  int threads;
  std::size_t scratch_bytes;
};

SummaryPlan plan_summary(const CheckedProblem& problem, std::int64_t top_k);

}  // namespace regard
