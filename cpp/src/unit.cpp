#include "unit.hpp"

namespace regard {
namespace {

/// Sum of strides over the batch axes; `element` counts them in C order.
std::int64_t batch_offset(const std::array<std::int64_t, kMaxRank>& strides, const Geometry& g,
                          std::int64_t element) {
  std::int64_t offset = 0;
  for (int i = g.batch_rank - 1; i >= 0; --i) {
    const auto at = static_cast<std::size_t>(i);
    offset += element % g.batch_shape[at] * strides[at];
    element /= g.batch_shape[at];
  }
  return offset;
}

/// Numbers of the heads from `first` on; with one for all heads, there is one head a unit or all
/// entries are that one.
const double* of_heads(const std::vector<double>& values, std::int64_t first) {
  return values.empty() ? nullptr : values.data() + first;
}

}  // namespace

kernels::Rows head_rows(const Operand& operand, const Geometry& g, std::int64_t element,
                        std::int64_t first_head) {
  char* data = operand.data;
  if (data != nullptr) {
    data += batch_offset(operand.batch_strides, g, element) + first_head * operand.head_stride;
  }
  return {data, operand.head_stride, operand.row_stride, operand.column_stride};
}

kernels::Rows piece_rows(const Operand& operand, const Geometry& g,
                         const std::vector<std::int64_t>& starts, std::int64_t element,
                         std::int64_t first_head) {
  kernels::Rows rows = head_rows(operand, g, element, first_head);
  if (rows.data != nullptr && !starts.empty()) {
    rows.data += starts[static_cast<std::size_t>(element)] * rows.row_stride;
  }
  return rows;
}

kernels::ScoreUnit score_unit(const Geometry& g, const Unit& at) {
  const std::int64_t element = at.element, head = at.head_set * g.unit_heads;
  const std::int64_t kv_head = head / g.group;
  kernels::ScoreUnit unit;
  unit.query = head_rows(g.query, g, element, head);
  unit.key = head_rows(g.key, g, element, kv_head);
  if (!g.query_starts.empty()) {
    const auto piece = static_cast<std::size_t>(element);
    unit.query.data += g.query_starts[piece] * unit.query.row_stride;
    unit.key.data += g.key_starts[piece] * unit.key.row_stride;
  }
  unit.mask_kind = g.mask_kind;
  unit.mask = head_rows(g.mask, g, element, head);
  unit.bias = head_rows(g.bias, g, element, head);
  unit.blocks = g.blocks.tiles;
  if (g.mask_kind == kernels::MaskKind::blocks) {
    unit.blocks.row_begin +=
        batch_offset(g.blocks.batch_strides, g, element) + head * g.blocks.head_stride;
  }
  unit.position_bias = g.position_bias;
  if (g.position_bias.table != nullptr) {
    unit.position_bias.table =
        static_cast<const char*>(g.position_bias.table) + head * g.position_bias_stride;
  }
  unit.group = g.unit_heads;
  unit.first_row = at.first;
  unit.row_count = at.count;
  unit.key_count = g.keys_of(element);
  unit.head_dim = g.head_dim;
  unit.key_tile = g.key_tile;
  unit.offset = g.offset_of(element);
  unit.left = g.left.of(head);
  unit.right = g.right.of(head);
  unit.cosine = g.cosine;
  unit.scale = g.scale.differ() ? g.scale.each.data() + head : &g.scale.one;
  unit.scale_step = g.scale.differ() ? 1 : 0;
  unit.softcap = of_heads(g.softcap, head);
  unit.alibi = of_heads(g.alibi, element * g.query_heads + head);
  unit.sink = of_heads(g.sinks, head);
  return unit;
}

}  // namespace regard
