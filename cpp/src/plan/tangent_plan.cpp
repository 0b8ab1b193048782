#include "plan/tangent_plan.hpp"

#include <algorithm>

namespace regard {

TangentPlan plan_tangent(const CheckedProblem& problem) {
  TangentPlan plan;
  plan.tiling = tile_by_head(problem);
  plan.blocks = 0;
  double work = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    plan.blocks = std::max(plan.blocks, plan.tiling.blocks_of(element));
    work += multiply_adds(problem, element);
  }
  plan.units = problem.batch * problem.query_heads * plan.blocks;
  plan.threads = threads_for(problem, work, plan.units);
  plan.scratch_bytes = plan.tiling.kernel->tangent_bytes(
      {problem.head_dim, problem.value_dim, plan.tiling.key_tile, 0, problem.has_score_mod()});
  return plan;
}

Unit TangentPlan::unit_at(std::int64_t index) const {
  const std::int64_t at = index / blocks, heads = tiling.problem->query_heads;
  const std::int64_t element = at / heads, head = at % heads;
  const std::int64_t own = tiling.blocks_of(element);
  // The last block comes first, because under a causal mask it has the most work.
  if (index % blocks >= own) return {element, head, 0, 0};
  return tiling.block_at(element, head, own - 1 - index % blocks);
}

}  // namespace regard
