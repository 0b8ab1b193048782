#include "plan/weights_plan.hpp"

namespace regard {
namespace {

/// Requested rows as runs of neighbours, each short enough for a unit.
std::vector<Run> runs_of(std::span<const std::int64_t> rows, std::int64_t most) {
  std::vector<Run> runs;
  for (std::size_t n = 0; n < rows.size(); ++n) {
    const bool extends = !runs.empty() && rows[n] == runs.back().first + runs.back().count &&
                         runs.back().count < most;
    if (extends) {
      ++runs.back().count;
    } else {
      runs.push_back({rows[n], 1, static_cast<std::int64_t>(n)});
    }
  }
  return runs;
}

}  // namespace

WeightsPlan plan_weights(const CheckedProblem& problem, std::span<const std::int64_t> rows) {
  WeightsPlan plan;
  plan.tiling = tile_by_head(problem);
  plan.runs = runs_of(rows, plan.tiling.tiles.query_block);
  const std::int64_t heads = problem.batch * problem.query_heads;
  plan.units = heads * static_cast<std::int64_t>(plan.runs.size());
  const double work = static_cast<double>(heads) * static_cast<double>(rows.size()) *
                      static_cast<double>(problem.keys * problem.head_dim);
  plan.threads = threads_for(problem, work, plan.units);
  plan.scratch_bytes = plan.tiling.kernel->scratch_bytes(
      {problem.head_dim, problem.value_dim, plan.tiling.key_tile, 0, problem.has_score_mod()});
  return plan;
}

}  // namespace regard
