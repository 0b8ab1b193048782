#include "run/kernel_units.hpp"

#include <algorithm>

namespace regard {
namespace {

/// Numbers of the heads from `first` on; with one for all heads, there is one head a unit or all
/// entries are that one.
const double* of_heads(const std::vector<double>& values, std::int64_t first) {
  return values.empty() ? nullptr : values.data() + first;
}

}  // namespace

kernels::Rows head_rows(const Operand& operand, const CheckedProblem& problem, std::int64_t element,
                        std::int64_t first_head, const std::vector<std::int64_t>& starts) {
  char* data = operand.data;
  if (data != nullptr) {
    data += problem.batch_offset(element, operand.batch_strides) + first_head * operand.head_stride;
    if (!starts.empty()) data += starts[static_cast<std::size_t>(element)] * operand.row_stride;
  }
  return {data, operand.head_stride, operand.row_stride, operand.column_stride};
}

kernels::StoredRows stored_rows(const Operand& operand, const Operand& scales,
                                const CheckedProblem& problem, std::int64_t element,
                                std::int64_t kv_head) {
  kernels::StoredRows stored = {};
  stored.rows = head_rows(operand, problem, element, kv_head, problem.key_starts);
  stored.storage = operand.storage;
  if (scales.data != nullptr) {
    stored.scales = head_rows(scales, problem, element, kv_head, problem.key_starts).data;
    stored.scale_stride = scales.row_stride;
  }
  if (problem.page_size > 0) {
    stored.pages = problem.block_table.data() + element * problem.blocks_an_element;
    stored.page_size = problem.page_size;
    stored.page_stride = operand.page_stride;
    stored.scale_page_stride = scales.page_stride;
  }
  return stored;
}

kernels::Dropout unit_dropout(const CheckedProblem& problem, std::int64_t element,
                              std::int64_t head) {
  kernels::Dropout dropout = problem.dropout;
  dropout.head += static_cast<std::uint32_t>(head);
  dropout.element =
      static_cast<std::uint32_t>(problem.dropout_elements.empty()
                                     ? element
                                     : problem.dropout_elements[static_cast<std::size_t>(element)]);
  return dropout;
}

kernels::ScoreUnit score_unit(const Tiling& tiling, const Unit& at) {
  const CheckedProblem& problem = *tiling.problem;
  const std::int64_t element = at.element, head = at.head_set * tiling.unit_heads;
  const std::int64_t kv_head = head / problem.group;
  kernels::ScoreUnit unit;
  unit.query = head_rows(problem.query, problem, element, head, problem.query_starts);
  unit.query_storage = problem.query.storage;
  unit.query_scale = head_rows(problem.query_scale, problem, element, head, problem.query_starts);
  unit.key = stored_rows(problem.key, problem.key_scales, problem, element, kv_head);
  unit.mask_kind = problem.mask_kind;
  unit.mask = head_rows(problem.mask, problem, element, head, {});
  unit.bias = head_rows(problem.bias, problem, element, head, {});
  unit.bias_storage = problem.bias.storage;
  unit.blocks = problem.mask_kind == kernels::MaskKind::blocks ? problem.blocks_of(element, head)
                                                               : kernels::BlockMask{};
  unit.position_bias = problem.position_bias;
  if (problem.position_bias.table != nullptr) {
    unit.position_bias.table =
        static_cast<const char*>(problem.position_bias.table) + head * problem.position_bias_stride;
  }
  unit.score_mod = {problem.score_mod, problem.score_mod_gradient, head, element};
  unit.group = tiling.unit_heads;
  unit.first_row = at.first;
  unit.row_count = at.count;
  unit.key_count = problem.keys_of(element);
  unit.head_dim = problem.head_dim;
  unit.key_tile = tiling.key_tile;
  const Reach reach = problem.reach_of(element, head);
  unit.offset = std::clamp(problem.offset_of(element), -kFarthest, kFarthest);
  unit.reach_begin = reach.begin;
  unit.reach_end = reach.end;
  unit.cosine = problem.cosine;
  unit.scale = problem.scale.differ() ? problem.scale.each.data() + head : &problem.scale.one;
  unit.scale_step = problem.scale.differ() ? 1 : 0;
  unit.softcap = of_heads(problem.softcap, head);
  unit.alibi = of_heads(problem.alibi, element * problem.query_heads + head);
  unit.sink = of_heads(problem.sinks, head);
  return unit;
}

}  // namespace regard
