// What can be said of the weights without keeping them.
#include <limits>
#include <vector>

#include "base/threads.hpp"
#include "plan/planned_call.hpp"
#include "plan/summary_plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

/// Queries past the length of their batch element weigh nothing.
template <class T>
void clear_padding(const CheckedProblem& problem, const Summary& s, std::int64_t element,
                   std::int64_t head) {
  const std::int64_t at = (element * problem.query_heads + head) * problem.queries;
  for (std::int64_t i = at + problem.queries_of(element); i < at + problem.queries; ++i) {
    static_cast<T*>(s.lse)[i] = -std::numeric_limits<T>::infinity();
    static_cast<T*>(s.entropy)[i] = static_cast<T*>(s.row_max)[i] = 0;
    for (std::int64_t k = 0; k < s.top_k; ++k) {
      static_cast<T*>(s.top_weights)[i * s.top_k + k] = 0;
      s.top_keys[i * s.top_k + k] = -1;
    }
  }
}

}  // namespace

void Plan::summary(const Summary& s) const {
  const CheckedProblem& problem = call_->problem;
  validate_summary(s, problem);
  const SummaryPlan plan = plan_summary(problem, s.top_k);
  const Tiling& tiling = plan.tiling;
  const auto item = static_cast<std::int64_t>(size(problem.dtype));
  const std::int64_t heads = problem.batch * problem.query_heads,
                     cells = s.query_cells * s.key_cells;
  const std::int64_t chunks = plan.chunks;
  const std::int64_t width = problem.keys + cells;
  std::vector<double> sums(static_cast<std::size_t>(heads * chunks * width));
  ThreadScratch scratch(plan.scratch_bytes, plan.threads);
  parallel_for(plan.units, plan.threads, [&](std::int64_t n, int thread) {
    const std::int64_t at = n / chunks, chunk = n % chunks;
    const std::int64_t element = at / problem.query_heads, head = at % problem.query_heads;
    const std::int64_t first = at * problem.queries;  // of the head's rows in the outputs
    for (std::int64_t block = chunk; block < tiling.blocks_of(element); block += chunks) {
      const Unit rows = tiling.block_at(element, head, block);
      if (rows.count <= 0) continue;
      kernels::SummaryUnit unit;
      unit.scores = score_unit(tiling, rows);
      unit.lse = static_cast<char*>(s.lse) + first * item;
      unit.entropy = static_cast<char*>(s.entropy) + first * item;
      unit.row_max = static_cast<char*>(s.row_max) + first * item;
      unit.top_k = s.top_k;
      unit.top_weights = static_cast<char*>(s.top_weights) + first * s.top_k * item;
      unit.top_keys = s.top_keys + first * s.top_k;
      unit.column_sums = sums.data() + n * width;
      unit.pooled = unit.column_sums + problem.keys;
      unit.query_length = problem.queries;
      unit.key_length = problem.keys;
      unit.query_cells = s.query_cells;
      unit.key_cells = s.key_cells;
      unit.scratch = scratch.of(thread);
      tiling.kernel->summary(unit);
    }
  });
  for (std::int64_t at = 0; at < heads; ++at) {
    const std::int64_t element = at / problem.query_heads, head = at % problem.query_heads;
    problem.dtype == DType::float32 ? clear_padding<float>(problem, s, element, head)
                                    : clear_padding<double>(problem, s, element, head);
    const auto total = [&](std::int64_t place) {
      double sum = 0;
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
        sum += sums[static_cast<std::size_t>((at * chunks + chunk) * width + place)];
      }
      return sum;
    };
    for (std::int64_t j = 0; j < problem.keys; ++j) s.column_sums[at * problem.keys + j] = total(j);
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      const std::int64_t row = cell / s.key_cells;
      const std::int64_t rows =
          (row + 1) * problem.queries / s.query_cells - row * problem.queries / s.query_cells;
      s.pooled[at * cells + cell] = total(problem.keys + cell) / static_cast<double>(rows);
    }
  }
}

}  // namespace regard
