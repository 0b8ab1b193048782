#include "plan/latent_plan.hpp"

#include <algorithm>

namespace regard {
namespace {

/// Rows from which on blocks of them are units enough: 8 queries of 128 heads.
constexpr std::int64_t kFewRows = 1024;

/// Keys a group, in whole tiles. Merging two groups costs as much as 3 keys do, and 4096 keys are
/// shared out evenly by 2, 4 or 8 threads.
constexpr std::int64_t kGroupKeys = 512;

/// Whether two operands begin at the same place and go on by the same steps, but for the columns.
bool same_rows(const Operand& a, const Operand& b, const CheckedProblem& problem) {
  const auto batch_rank = static_cast<std::size_t>(problem.batch_rank);
  for (std::size_t axis = 0; axis < batch_rank; ++axis) {
    if (problem.batch_shape[axis] > 1 && a.batch_strides[axis] != b.batch_strides[axis]) {
      return false;
    }
  }
  return a.data == b.data && (problem.kv_heads == 1 || a.head_stride == b.head_stride) &&
         a.row_stride == b.row_stride && a.page_stride == b.page_stride;
}

}  // namespace

bool value_in_key(const CheckedProblem& problem) {
  const Operand &key = problem.key, &value = problem.value;
  return problem.value_dim <= problem.head_dim && key.storage == value.storage &&
         key.column_stride == value.column_stride && same_rows(key, value, problem) &&
         (key.storage != kernels::Storage::int8 ||
          same_rows(problem.key_scales, problem.value_scales, problem));
}

bool is_latent(const Tiling& tiling) {
  return tiling.problem->head_dim > tiling.problem->value_dim &&
         tiling.unit_heads > kernels::kDecodeRows;
}

KeyGroups tile_groups(const Tiling& tiling, std::int64_t element) {
  const CheckedProblem& problem = *tiling.problem;
  if (!is_latent(tiling) || tiling.rows_of(element) > kFewRows) {
    return {0, problem.keys_of(element), 1};
  }
  const KeyRange keys = reachable_keys(problem, element);
  const std::int64_t each = ceil_div(kGroupKeys, tiling.key_tile) * tiling.key_tile;
  const std::int64_t first = keys.begin / each * each;
  return {first, each, std::max<std::int64_t>(ceil_div(keys.end - first, each), 1)};
}

}  // namespace regard
