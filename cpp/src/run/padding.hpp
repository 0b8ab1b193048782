// Queries past the length of their batch element.
#pragma once

#include "validate/checked_problem.hpp"

namespace regard {

/// Where there are query_lengths: rows of `out` beyond them become 0, and those of `lse`, which may
/// be not given, `of_nothing`.
void clear_padding(const CheckedProblem& problem, const Operand& out, const Operand& lse,
                   double of_nothing);

}  // namespace regard
