// The parts of validate(), and what their messages show.
#pragma once

#include <string>

#include "base/message.hpp"
#include "regard/attention.hpp"
#include "validate/checked_problem.hpp"
#include "validate/types.hpp"

namespace regard {

inline constexpr const char* kKeyAxes[] = {"heads", "length", "head_dim"};
inline constexpr const char* kValueAxes[] = {"heads", "length", "value_dim"};
inline constexpr const char* kScoreAxes[] = {"heads", "queries", "keys"};

inline Shown show_query(const Problem& p) { return {"query", p.query, kKeyAxes}; }
inline Shown show_key(const Problem& p) { return {"key", p.key, kKeyAxes}; }
inline Shown show_value(const Problem& p) { return {"value", p.value, kValueAxes}; }

inline std::string versus(std::int64_t a, std::int64_t b) {
  return " (" + std::to_string(a) + " vs " + std::to_string(b) + ").";
}

/// Types of query, key, value and scales: sets those of the computation and the output.
void check_dtypes(const Problem& p, CheckedProblem& checked);

/// Shapes of the scales of int8 keys and values; once the batch axes are known.
void check_scales(const Problem& p, CheckedProblem& checked);

/// The problem with the keys and values of its pages as if they followed each other; remembers in
/// `checked` how they lie.
Problem without_pages(const Problem& p, CheckedProblem& checked);

/// The pages of each batch element; once the lengths are known.
void check_block_table(const Problem& p, CheckedProblem& checked);

/// Packed pieces become the batch: starts are checked, and queries and keys are the most of any.
void check_pieces(const Problem& p, CheckedProblem& checked);

/// key_lengths, query_lengths and query_offset.
void check_lengths(const Problem& p, CheckedProblem& checked);

/// mask, packed mask and block mask.
void check_masks(const Problem& p, CheckedProblem& checked);

/// bias and position bias.
void check_biases(const Problem& p, CheckedProblem& checked);

/// Causal, windows, and options that are numbers: scale, softcap, slopes, sinks, dropout.
void check_numbers(const Problem& p, CheckedProblem& checked);

/// What of those numbers the compute type does not hold; once the lengths are known.
void check_ranges(const Problem& p, CheckedProblem& checked);

/// Refuses outputs and lists of numbers a head that no address space has room for.
void check_memory(const Problem& p, const CheckedProblem& checked);

/// Aligns an array that broadcasts to (batch..., query heads, queries, keys).
Operand broadcast_scores(const char* argument, const Array& array, const Problem& p,
                         const CheckedProblem& checked);

/// Whether the leading axes `shape` broadcast to (batch..., query heads); `from_end` 0 is the
/// heads.
bool leading_axes_fit(std::span<const std::int64_t> shape, const CheckedProblem& checked);

/// "(2, 8, 512, 512)": what masks and biases broadcast to.
std::string score_shape(const CheckedProblem& checked);

}  // namespace regard
