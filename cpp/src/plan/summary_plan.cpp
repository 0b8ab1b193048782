#include "plan/summary_plan.hpp"

#include <algorithm>

namespace regard {
namespace {

/// Enough units for many threads, and few enough for their sums over rows to be small.
constexpr std::int64_t kSummaryUnits = 32;

}  // namespace

SummaryPlan plan_summary(const CheckedProblem& problem, std::int64_t top_k) {
  SummaryPlan plan;
  plan.tiling = tile_by_head(problem);
  const std::int64_t heads = problem.batch * problem.query_heads;
  // In an order that the threads cannot change.
  plan.chunks = std::max<std::int64_t>(1, kSummaryUnits / std::max<std::int64_t>(heads, 1));
  plan.units = heads * plan.chunks;
  double work = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    work += multiply_adds(problem, element);
  }
  plan.threads = threads_for(problem, work, plan.units);
  plan.scratch_bytes = plan.tiling.kernel->scratch_bytes(
      {problem.head_dim, problem.value_dim, plan.tiling.key_tile, top_k, problem.has_score_mod()});
  return plan;
}

}  // namespace regard
