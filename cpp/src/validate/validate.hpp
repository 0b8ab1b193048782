// Every check the library makes of its arguments, and every message about them.
#pragma once

#include <span>
#include <string>

#include "regard/attention.hpp"
#include "validate/checked_problem.hpp"

namespace regard {

/// Checks the inputs and options and fills in `checked`, which nothing changes after; reads no
/// array but the lengths and other small ones.
/// @throws ValueError, TypeError
void validate(const Problem& problem, CheckedProblem& checked);

/// For a MemoryError: which shapes ask for how much. Once the output's shape is known.
std::string memory_message(const Problem& problem, const CheckedProblem& checked);

/// Checks an output against the shape wanted of it and aligns it with the problem's axes.
/// `trailing` is how many of its axes follow the heads: 2 for out, 1 for the LSE.
Operand validate_output(const char* argument, const Array& array, const CheckedProblem& checked,
                        int trailing);

/// What the backward pass reads and writes, aligned with the problem's axes.
struct BackwardOperands {
  Operand out, dout, lse, dlse;
  Operand query, key, value, bias;  ///< gradients; data is null where not wanted
  Operand query_scale;
  Operand sinks, alibi_slopes;  ///< columns are heads, rows batch elements
  double* table = nullptr;      ///< gradient of the position bias, (heads or 1, table_size)
  std::int64_t table_heads = 0, table_size = 0;
};

/// What forward mode reads and writes.
struct TangentOperands {
  Operand query, key, value;  ///< moves; data is null for what stays
  Operand out, dout, lse, dlse;
};

TangentOperands validate_tangent(const Tangents& moves, const TangentOutputs& outputs,
                                 const CheckedProblem& checked);

BackwardOperands validate_backward(const Saved& saved, const Gradients& gradients,
                                   const CheckedProblem& checked);

/// Numbers of queries, and of keys [first_key, last_key), and where their weights go.
void validate_weights(std::span<const std::int64_t> rows, std::int64_t first_key,
                      std::int64_t last_key, const Array& out, const CheckedProblem& checked);

void validate_summary(const Summary& summary, const CheckedProblem& checked);

}  // namespace regard
