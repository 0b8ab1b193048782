#include "validate/validate.hpp"

#include <algorithm>
#include <string>

#include "base/threads.hpp"
#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

void check_ranks(const Problem& p) {
  const auto at_least = [&](const Shown& shown, int rank, const char* advice) {
    if (shown.array.rank >= rank) return;
    throw ValueError(message(std::string(shown.name) + " has " + std::to_string(shown.array.rank) +
                                 (shown.array.rank == 1 ? " axis." : " axes."),
                             {shown}, advice));
  };
  at_least(show_query(p), 1,
           "It must be (..., heads, length, head_dim), or (head_dim,) for one "
           "query of one head.");
  at_least(show_key(p), 2,
           "It must be (..., heads, length, head_dim), or (length, head_dim) for "
           "one head.");
  at_least(show_value(p), 2,
           "It must be (..., heads, length, value_dim), or (length, value_dim) "
           "for one head.");
}

/// Axes of query, key and value that must agree.
void check_shapes(const Problem& p, bool query_is_vector, CheckedProblem& checked) {
  checked.head_dim = axis(p.query, 0);
  checked.value_dim = axis(p.value, 0);
  checked.queries = query_is_vector ? 1 : axis(p.query, 1);
  checked.keys = axis(p.key, 1);
  checked.query_heads = query_is_vector ? 1 : axis(p.query, 2);
  checked.kv_heads = axis(p.key, 2);
  if (axis(p.key, 0) != checked.head_dim) {
    throw ValueError(
        message("query and key disagree on head_dim" + versus(checked.head_dim, axis(p.key, 0)),
                {show_query(p), show_key(p)}, "The last axis of query and key must match."));
  }
  if (checked.head_dim == 0) {
    throw ValueError(message("query and key have head_dim 0.", {show_query(p), show_key(p)},
                             "The last axis of query and key must hold at least one number."));
  }
  if (axis(p.value, 1) != checked.keys) {
    throw ValueError(
        message("key and value disagree on length" + versus(checked.keys, axis(p.value, 1)),
                {show_key(p), show_value(p)},
                "Every key needs one value: their second last axes must match."));
  }
  if (axis(p.value, 2) != checked.kv_heads) {
    throw ValueError(
        message("key and value disagree on heads" + versus(checked.kv_heads, axis(p.value, 2)),
                {show_key(p), show_value(p)}, "key and value must have the same number of heads."));
  }
  if (checked.kv_heads == 0 ? checked.query_heads != 0
                            : checked.query_heads % checked.kv_heads != 0) {
    throw ValueError(message("query has " + std::to_string(checked.query_heads) +
                                 " heads and key has " + std::to_string(checked.kv_heads) + ".",
                             {show_query(p), show_key(p), show_value(p)},
                             "The heads of query must be a multiple of those of key and value "
                             "(grouped-query attention). If the axes are (batch, tokens, heads, "
                             "dim), say layout='BSHD'."));
  }
  checked.group = checked.kv_heads == 0 ? 0 : checked.query_heads / checked.kv_heads;
}

/// The batch axes of query, key and value broadcast against each other as in NumPy.
void broadcast_batch(const Problem& p, CheckedProblem& checked) {
  const auto batch_rank = [](const Array& a) { return std::max(0, a.rank - 3); };
  checked.batch_rank = std::max({batch_rank(p.query), batch_rank(p.key), batch_rank(p.value)});
  checked.batch = 1;
  for (int i = 0; i < checked.batch_rank; ++i) {  // from the last batch axis to the first
    std::int64_t size = 1;
    for (const Array* array : {&p.query, &p.key, &p.value}) {
      const std::int64_t own = axis(*array, 3 + i);
      if (own == 1 || own == size) continue;
      if (size != 1) {
        throw ValueError(
            message("the batch axes of query, key and value do not broadcast" + versus(size, own),
                    {show_query(p), show_key(p), show_value(p)},
                    "Axes before the heads must be equal, or 1, as in NumPy."));
      }
      size = own;
    }
    checked.batch_shape[static_cast<std::size_t>(checked.batch_rank - 1 - i)] = size;
    __builtin_mul_overflow(checked.batch, size, &checked.batch);  // check_memory sees it
  }
}

void check_threads(const Problem& p, CheckedProblem& checked) {
  if (p.threads && *p.threads < 1) {
    throw ValueError(message("num_threads is " + std::to_string(*p.threads) + ".", {},
                             "Give at least 1, or None for get_num_threads()."));
  }
  checked.threads =
      p.threads ? std::min(static_cast<int>(std::min(*p.threads, kMostThreads)), thread_limit())
                : default_threads();
}

/// The output's shape: NumPy's matmul rule. A query without a length axis gives an output without.
void set_out_shape(const Problem& p, CheckedProblem& checked) {
  checked.query_is_vector = p.query.rank == 1;
  checked.heads_axis = std::max({p.query.rank, p.key.rank, p.value.rank}) > 2;
  int rank = 0;
  const auto push = [&](std::int64_t extent) {
    checked.out_shape[static_cast<std::size_t>(rank++)] = extent;
  };
  for (int i = 0; i < checked.batch_rank; ++i)
    push(checked.batch_shape[static_cast<std::size_t>(i)]);
  if (checked.heads_axis) push(checked.query_heads);
  if (!checked.query_is_vector) push(checked.queries);
  push(checked.value_dim);
  checked.out_rank = rank;
}

void check(const Problem& p, CheckedProblem& checked) {
  check_ranks(p);
  check_shapes(p, p.query.rank == 1, checked);
  broadcast_batch(p, checked);
  set_out_shape(p, checked);
  check_memory(p, checked);
  const auto align_stored = [&](Operand& operand, const Array& array) {
    const Operand as_kept = operand;  // check_dtypes and without_pages know how
    operand = align(array, checked, 2);
    operand.storage = as_kept.storage;
    operand.page_stride = as_kept.page_stride;
  };
  align_stored(checked.query, p.query);  // a 1-D query has stride 0 where it has no axis
  align_stored(checked.key, p.key);
  align_stored(checked.value, p.value);
  if (p.query_starts || p.key_starts) check_pieces(p, checked);
  check_scales(p, checked);
  check_lengths(p, checked);
  if (p.block_table) check_block_table(p, checked);
  check_numbers(p, checked);
  check_ranges(p, checked);
  check_masks(p, checked);
  check_biases(p, checked);  // after the positions, which a grid depends on
  check_threads(p, checked);
}

}  // namespace

void validate(const Problem& problem, CheckedProblem& checked) {
  check_dtypes(problem, checked);
  if (problem.block_table) return check(without_pages(problem, checked), checked);
  check(problem, checked);
}

}  // namespace regard
