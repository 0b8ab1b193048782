// How the forward pass is run: blocks of rows; groups of keys where rows are few; and groups of
// keys for each block where rows are many and share their keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/tiling.hpp"

namespace regard {

struct ForwardPlan {
  Tiling tiling;
  const kernels::DotKernels* dots = nullptr;  ///< in place of the kernel's forward
  bool split = false;    ///< groups of keys of decoded elements are units of their own
  bool in_turn = false;  ///< some blocks share out their keys: units are taken in their order
  bool value_in_key = false;
  std::int64_t units = 0;
  std::int64_t parts = 0;  ///< states of groups of decoded keys, if they are split, and of blocks
                           ///< that share out their keys
  std::vector<std::int64_t> elements;    ///< in the order of work, if they differ in size
  std::vector<std::int64_t> first_unit;  ///< of each of `elements`, and the number of all units
  std::vector<std::int64_t> first_part;  ///< of each of `elements`: its states
  int threads = 1;
  std::size_t part_bytes = 0;     ///< of a state
  std::size_t scratch_bytes = 0;  ///< of a thread

  /// Count may be 0 or less.
  Unit unit_at(std::int64_t index) const;
};

ForwardPlan plan_forward(const CheckedProblem& problem);

}  // namespace regard
