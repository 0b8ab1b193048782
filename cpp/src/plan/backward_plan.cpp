#include "plan/backward_plan.hpp"

#include <algorithm>
#include <numeric>

namespace regard {
namespace {

struct Block {
  std::int64_t first, count;
};

/// Rows that blocks are cut from: those of whole tiles of a block mask, or all of an element's.
std::int64_t segment_rows(const Tiling& tiling, std::int64_t rows) {
  if (tiling.problem->mask_kind != kernels::MaskKind::blocks) return rows;
  return rows_of_tiles(*tiling.problem, tiling.unit_heads, tiling.tiles.query_block);
}

/// The blocks of a head set: whole vectors, and as even as can be. They depend on the element's own
/// rows only, so that its gradients do not depend on the others'.
std::vector<Block> blocks_of_rows(const Tiling& tiling, std::int64_t rows) {
  const kernels::TileSizes& tiles = tiling.tiles;
  std::vector<Block> blocks;
  const std::int64_t segment = segment_rows(tiling, rows);
  for (std::int64_t begin = 0; begin < rows; begin += segment) {
    const std::int64_t here = std::min(segment, rows - begin);
    const std::int64_t vectors = ceil_div(here, tiles.lanes);
    const std::int64_t count = ceil_div(here, tiles.query_block);
    for (std::int64_t n = 0; n < count; ++n) {
      const std::int64_t from = n * vectors / count * tiles.lanes;
      const std::int64_t to = std::min(here, (n + 1) * vectors / count * tiles.lanes);
      blocks.push_back({begin + from, to - from});
    }
  }
  return blocks;
}

std::vector<BackwardJob> jobs_of(const Tiling& tiling, bool all_in_turn) {
  const CheckedProblem& problem = *tiling.problem;
  std::vector<std::vector<Block>> blocks;
  std::size_t most = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    blocks.push_back(blocks_of_rows(tiling, tiling.rows_of(element)));
    most = std::max(most, blocks.back().size());
  }
  std::vector<BackwardJob> jobs;
  std::vector<std::int64_t> last(static_cast<std::size_t>(problem.batch * problem.kv_heads), -1);
  // The heads one after the other, block by block: jobs that take turns are far apart. The last
  // block comes first, because under a causal mask it has the most work.
  for (std::size_t block = most; block-- > 0;) {
    for (std::int64_t element = 0; element < problem.batch; ++element) {
      const auto& own = blocks[static_cast<std::size_t>(element)];
      if (block >= own.size()) continue;
      for (std::int64_t head_set = 0; head_set < tiling.head_sets(); ++head_set) {
        const std::int64_t kv_head =
            element * problem.kv_heads + head_set * tiling.unit_heads / problem.group;
        auto& before = last[static_cast<std::size_t>(kv_head)];
        const auto index = static_cast<std::int64_t>(jobs.size());
        jobs.push_back({{element, head_set, own[block].first, own[block].count},
                        all_in_turn ? index - 1 : before,
                        kv_head});
        before = index;
      }
    }
  }
  return jobs;
}

/// Whether several blocks of rows add to one place of the bias's gradient.
bool shares_bias(const CheckedProblem& problem) {
  const auto broadcasts = [&](std::size_t from_end, std::int64_t extent) {
    const std::size_t rank = problem.bias_shape.size();
    return extent > 1 && (from_end >= rank || problem.bias_shape[rank - 1 - from_end] == 1);
  };
  bool shared = broadcasts(1, problem.queries) || broadcasts(2, problem.query_heads);
  for (int i = 0; i < problem.batch_rank; ++i) {
    const auto axis = static_cast<std::size_t>(problem.batch_rank - 1 - i);
    shared |= broadcasts(static_cast<std::size_t>(3 + i), problem.batch_shape[axis]);
  }
  return shared;
}

}  // namespace

BackwardPlan plan_backward(const CheckedProblem& problem, const WantedGradients& wanted) {
  BackwardPlan plan;
  plan.tiling = tile_backward(problem);
  plan.all_in_turn = wanted.bias && shares_bias(problem);
  plan.jobs = jobs_of(plan.tiling, plan.all_in_turn);
  double work = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    work += multiply_adds(problem, element);
  }
  plan.threads = threads_for(problem, work, static_cast<std::int64_t>(plan.jobs.size()));
  plan.order.resize(plan.jobs.size());
  std::iota(plan.order.begin(), plan.order.end(), std::size_t{0});
  if (!plan.all_in_turn) {
    std::ranges::stable_sort(plan.order, {},
                             [&](std::size_t n) { return plan.jobs[n].kv_head / plan.threads; });
  }
  plan.scratch_bytes =
      plan.tiling.kernel->backward_bytes({problem.head_dim, problem.value_dim, plan.tiling.key_tile,
                                          wanted.table_size, problem.has_score_mod()});
  return plan;
}

}  // namespace regard
