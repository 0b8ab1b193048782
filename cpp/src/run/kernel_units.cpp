#include "run/kernel_units.hpp"

#include "validate/axes.hpp"

namespace regard {
namespace {

std::int64_t offset_of(const std::array<std::int64_t, kMaxRank>& batch_strides, const Geometry& g,
                       std::int64_t element) {
  return batch_offset(g, element, [&](int i) {
    return batch_strides[static_cast<std::size_t>(g.batch_rank - 1 - i)];
  });
}

/// Numbers of the heads from `first` on; with one for all heads, there is one head a unit or all
/// entries are that one.
const double* of_heads(const std::vector<double>& values, std::int64_t first) {
  return values.empty() ? nullptr : values.data() + first;
}

}  // namespace

kernels::Rows head_rows(const Operand& operand, const Geometry& g, std::int64_t element,
                        std::int64_t first_head, const std::vector<std::int64_t>& starts) {
  char* data = operand.data;
  if (data != nullptr) {
    data += offset_of(operand.batch_strides, g, element) + first_head * operand.head_stride;
    if (!starts.empty()) data += starts[static_cast<std::size_t>(element)] * operand.row_stride;
  }
  return {data, operand.head_stride, operand.row_stride, operand.column_stride};
}

kernels::StoredRows stored_rows(const Operand& operand, const Operand& scales, const Geometry& g,
                                std::int64_t element, std::int64_t kv_head) {
  kernels::StoredRows stored = {};
  stored.rows = head_rows(operand, g, element, kv_head, g.key_starts);
  stored.storage = operand.storage;
  if (scales.data != nullptr) {
    stored.scales = head_rows(scales, g, element, kv_head, g.key_starts).data;
    stored.scale_stride = scales.row_stride;
  }
  if (g.page_size > 0) {
    stored.pages = g.block_table.data() + element * g.blocks_an_element;
    stored.page_size = g.page_size;
    stored.page_stride = operand.page_stride;
    stored.scale_page_stride = scales.page_stride;
  }
  return stored;
}

kernels::ScoreUnit score_unit(const Geometry& g, const Unit& at) {
  const std::int64_t element = at.element, head = at.head_set * g.unit_heads;
  const std::int64_t kv_head = head / g.group;
  kernels::ScoreUnit unit;
  unit.query = head_rows(g.query, g, element, head, g.query_starts);
  unit.query_storage = g.query.storage;
  unit.key = stored_rows(g.key, g.key_scales, g, element, kv_head);
  unit.mask_kind = g.mask_kind;
  unit.mask = head_rows(g.mask, g, element, head, {});
  unit.bias = head_rows(g.bias, g, element, head, {});
  unit.bias_storage = g.bias.storage;
  unit.blocks = g.blocks.tiles;
  if (g.mask_kind == kernels::MaskKind::blocks) {
    unit.blocks.row_begin +=
        offset_of(g.blocks.batch_strides, g, element) + head * g.blocks.head_stride;
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
