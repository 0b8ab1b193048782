// Forward mode: the forward pass with moves of its inputs.
#include <limits>

#include "base/threads.hpp"
#include "plan/planned_call.hpp"
#include "plan/tangent_plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/padding.hpp"
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
  unit.dropout = unit_dropout(problem, element, head);
  return unit;
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
  clear_padding(problem, t.out, t.lse, -std::numeric_limits<double>::infinity());
  clear_padding(problem, t.dout, t.dlse, 0);
}

}  // namespace regard
