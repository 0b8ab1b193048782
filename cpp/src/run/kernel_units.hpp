// From a unit of the plan to what a kernel is told.
#pragma once

#include <vector>

#include "kernels/kernel_api.hpp"
#include "plan/tiling.hpp"

namespace regard {

/// Rows of the heads from `first_head` on, of one batch element; of packed pieces, from where the
/// piece starts.
kernels::Rows head_rows(const Operand& operand, const CheckedProblem& problem, std::int64_t element,
                        std::int64_t first_head, const std::vector<std::int64_t>& starts);

/// Keys or values of a kv head.
kernels::StoredRows stored_rows(const Operand& operand, const Operand& scales,
                                const CheckedProblem& problem, std::int64_t element,
                                std::int64_t kv_head);

/// Dropout of a unit whose first query head is `head`.
kernels::Dropout unit_dropout(const CheckedProblem& problem, std::int64_t element,
                              std::int64_t head);

/// The scores of a unit.
kernels::ScoreUnit score_unit(const Tiling& tiling, const Unit& unit);

}  // namespace regard
