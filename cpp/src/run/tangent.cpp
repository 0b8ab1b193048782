// Forward mode: the forward pass with moves of its inputs.
#include <algorithm>
#include <limits>

#include "base/threads.hpp"
#include "plan/plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

kernels::TangentUnit tangent_unit(const Geometry& g, const TangentOperands& t, const Unit& at) {
  const std::int64_t head = at.head_set * g.unit_heads, kv_head = head / g.group;
  const std::int64_t element = at.element;
  kernels::TangentUnit unit;
  unit.scores = score_unit(g, at);
  unit.value = stored_rows(g.value, g.value_scales, g, element, kv_head);
  unit.dquery = head_rows(t.query, g, element, head, g.query_starts);
  unit.dkey = head_rows(t.key, g, element, kv_head, g.key_starts);
  unit.dvalue = head_rows(t.value, g, element, kv_head, g.key_starts);
  unit.out = head_rows(t.out, g, element, head, g.query_starts);
  unit.dout = head_rows(t.dout, g, element, head, g.query_starts);
  unit.lse = head_rows(t.lse, g, element, head, g.query_starts);
  unit.dlse = head_rows(t.dlse, g, element, head, g.query_starts);
  unit.value_dim = g.value_dim;
  unit.out_storage = g.query.storage;
  unit.dropout = g.dropout;
  unit.dropout.head = static_cast<std::uint32_t>(head);
  unit.dropout.element = static_cast<std::uint32_t>(element);
  return unit;
}

/// Queries past the length of their batch element: 0, and an LSE of -inf.
template <class T>
void clear_padding(const Geometry& g, const TangentOperands& t) {
  const auto clear = [&](const kernels::Rows& rows, std::int64_t i) {
    for (std::int64_t c = 0; c < g.value_dim; ++c) {
      __builtin_memset(rows.data + i * rows.row_stride + c * rows.column_stride, 0,
                       size(g.out_dtype));
    }
  };
  const auto put = [](const kernels::Rows& rows, std::int64_t i, T x) {
    if (rows.data) __builtin_memcpy(rows.data + i * rows.row_stride, &x, sizeof x);
  };
  for (std::int64_t element = 0; element < g.batch; ++element) {
    for (std::int64_t head = 0; head < g.query_heads; ++head) {
      const auto rows = [&](const Operand& operand) {
        return head_rows(operand, g, element, head, g.query_starts);
      };
      for (std::int64_t i = g.queries_of(element); i < g.query_room(element); ++i) {
        clear(rows(t.out), i);
        clear(rows(t.dout), i);
        put(rows(t.lse), i, -std::numeric_limits<T>::infinity());
        put(rows(t.dlse), i, 0);
      }
    }
  }
}

}  // namespace

void Plan::tangent(const Tangents& moves, const TangentOutputs& outputs) const {
  Geometry g = *geometry_;
  const TangentOperands t = validate_tangent(moves, outputs, g);
  plan_by_head(g);  // rows are never decoded here
  ThreadScratch scratch(g.kernel->tangent_bytes({g.head_dim, g.value_dim, g.key_tile, 0}),
                        g.threads);
  std::int64_t blocks = 0;
  for (std::int64_t element = 0; element < g.batch; ++element) {
    blocks = std::max(blocks, blocks_of(g, element));
  }
  const std::int64_t heads = g.batch * g.query_heads;
  parallel_for(heads * blocks, g.threads, [&](std::int64_t n, int thread) {
    const std::int64_t element = n / blocks / g.query_heads, head = n / blocks % g.query_heads;
    if (n % blocks >= blocks_of(g, element)) return;
    const Unit at = block_at(g, element, head, blocks_of(g, element) - 1 - n % blocks);
    if (at.count <= 0) return;
    kernels::TangentUnit unit = tangent_unit(g, t, at);
    unit.scratch = scratch.of(thread);
    g.kernel->tangent(unit);
  });
  if (g.query_lengths.empty()) return;
  g.dtype == DType::float32 ? clear_padding<float>(g, t) : clear_padding<double>(g, t);
}

}  // namespace regard
