// Forward mode: the forward pass with moves of its inputs.
#include <limits>

#include "base/threads.hpp"
#include "plan/forward_plan.hpp"
#include "plan/tangent_plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

kernels::TangentUnit tangent_unit(const Tiling& tiling, const TangentOperands& t, const Unit& at) {
  const CheckedProblem& problem = *tiling.problem;
  const std::int64_t head = at.head_set * tiling.unit_heads, kv_head = head / problem.group;
  const std::int64_t element = at.element;
  kernels::TangentUnit unit;
  unit.scores = score_unit(tiling, at);
  unit.value = stored_rows(problem.value, problem.value_scales, problem, element, kv_head);
  unit.dquery = head_rows(t.query, problem, element, head, problem.query_starts);
  unit.dkey = head_rows(t.key, problem, element, kv_head, problem.key_starts);
  unit.dvalue = head_rows(t.value, problem, element, kv_head, problem.key_starts);
  unit.out = head_rows(t.out, problem, element, head, problem.query_starts);
  unit.dout = head_rows(t.dout, problem, element, head, problem.query_starts);
  unit.lse = head_rows(t.lse, problem, element, head, problem.query_starts);
  unit.dlse = head_rows(t.dlse, problem, element, head, problem.query_starts);
  unit.value_dim = problem.value_dim;
  unit.out_storage = problem.query.storage;
  unit.dropout = problem.dropout;
  unit.dropout.head = static_cast<std::uint32_t>(head);
  unit.dropout.element = static_cast<std::uint32_t>(element);
  return unit;
}

/// Queries past the length of their batch element: 0, and an LSE of -inf.
template <class T>
void clear_padding(const CheckedProblem& problem, const TangentOperands& t) {
  const auto clear = [&](const kernels::Rows& rows, std::int64_t i) {
    for (std::int64_t c = 0; c < problem.value_dim; ++c) {
      __builtin_memset(rows.data + i * rows.row_stride + c * rows.column_stride, 0,
                       size(problem.out_dtype));
    }
  };
  const auto put = [](const kernels::Rows& rows, std::int64_t i, T x) {
    if (rows.data) __builtin_memcpy(rows.data + i * rows.row_stride, &x, sizeof x);
  };
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    for (std::int64_t head = 0; head < problem.query_heads; ++head) {
      const auto rows = [&](const Operand& operand) {
        return head_rows(operand, problem, element, head, problem.query_starts);
      };
      for (std::int64_t i = problem.queries_of(element); i < problem.query_room(element); ++i) {
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
  const CheckedProblem& problem = call_->problem;
  const TangentOperands t = validate_tangent(moves, outputs, problem);
  const TangentPlan plan = plan_tangent(problem);
  ThreadScratch scratch(plan.scratch_bytes, plan.threads);
  parallel_for(plan.units, plan.threads, [&](std::int64_t index, int thread) {
    const Unit at = plan.unit_at(index);
    if (at.count <= 0) return;
    kernels::TangentUnit unit = tangent_unit(plan.tiling, t, at);
    unit.scratch = scratch.of(thread);
    plan.tiling.kernel->tangent(unit);
  });
  if (problem.query_lengths.empty()) return;
  problem.dtype == DType::float32 ? clear_padding<float>(problem, t)
                                  : clear_padding<double>(problem, t);
}

}  // namespace regard
