// Forward mode: the forward pass with moves of its inputs.
#include <limits>

#include "plan.hpp"
#include "regard/attention.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "unit.hpp"
#include "validate.hpp"

namespace regard {
namespace {

kernels::TangentUnit tangent_unit(const Geometry& g, const TangentOperands& t, const Unit& at) {
  const std::int64_t head = at.head_set * g.unit_heads, kv_head = head / g.group;
  const std::int64_t element = at.element;
  kernels::TangentUnit unit;
  unit.scores = score_unit(g, at);
  unit.value = piece_rows(g.value, g, g.key_starts, element, kv_head);
  unit.dquery = piece_rows(t.query, g, g.query_starts, element, head);
  unit.dkey = piece_rows(t.key, g, g.key_starts, element, kv_head);
  unit.dvalue = piece_rows(t.value, g, g.key_starts, element, kv_head);
  unit.out = piece_rows(t.out, g, g.query_starts, element, head);
  unit.dout = piece_rows(t.dout, g, g.query_starts, element, head);
  unit.lse = piece_rows(t.lse, g, g.query_starts, element, head);
  unit.dlse = piece_rows(t.dlse, g, g.query_starts, element, head);
  unit.value_dim = g.value_dim;
  unit.dropout = g.dropout;
  unit.dropout.head = static_cast<std::uint32_t>(head);
  unit.dropout.element = static_cast<std::uint32_t>(element);
  return unit;
}

/// Queries past the length of their batch element: 0, and an LSE of -inf.
template <class T>
void clear_padding(const Geometry& g, const TangentOperands& t) {
  const auto put = [](const kernels::Rows& rows, std::int64_t i, std::int64_t columns, T x) {
    for (std::int64_t c = 0; c < columns && rows.data != nullptr; ++c) {
      __builtin_memcpy(rows.data + i * rows.row_stride + c * rows.column_stride, &x, sizeof x);
    }
  };
  for (std::int64_t element = 0; element < g.batch; ++element) {
    for (std::int64_t head = 0; head < g.query_heads; ++head) {
      const auto rows = [&](const Operand& operand) {
        return piece_rows(operand, g, g.query_starts, element, head);
      };
      for (std::int64_t i = g.queries_of(element); i < g.query_room(element); ++i) {
        put(rows(t.out), i, g.value_dim, 0);
        put(rows(t.dout), i, g.value_dim, 0);
        put(rows(t.lse), i, 1, -std::numeric_limits<T>::infinity());
        put(rows(t.dlse), i, 1, 0);
      }
    }
  }
}

}  // namespace

void Plan::tangent(const Tangents& moves, const TangentOutputs& outputs) const {
  const Geometry& g = *geometry_;
  const TangentOperands t = validate_tangent(moves, outputs, g);
  ThreadScratch scratch(g.kernel->tangent_bytes({g.head_dim, g.value_dim, g.key_tile, 0}),
                        g.threads);
  parallel_for(g.units, g.threads, [&](std::int64_t index, int thread) {
    const Unit at = unit_at(g, index);
    if (at.count <= 0) return;
    kernels::TangentUnit unit = tangent_unit(g, t, at);
    unit.scratch = scratch.of(thread);
    g.kernel->tangent(unit);
  });
  if (g.query_lengths.empty()) return;
  g.dtype == DType::float32 ? clear_padding<float>(g, t) : clear_padding<double>(g, t);
}

}  // namespace regard
