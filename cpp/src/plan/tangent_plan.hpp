// How forward mode is run: blocks of rows, head by head. Rows are never decoded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan/tiling.hpp"

namespace regard {

struct TangentPlan {
  Tiling tiling;
  std::int64_t blocks;  ///< most of any batch element's heads
  std::int64_t units;
  int threads;
  std::size_t scratch_bytes;

  /// Count is 0 or less beyond the blocks of the element.
  Unit unit_at(std::int64_t index) const;
};

TangentPlan plan_tangent(const CheckedProblem& problem);

}  // namespace regard
