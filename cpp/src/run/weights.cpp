// Some rows of the weights, or of the scores that become them.
#include <algorithm>
#include <limits>

#include "base/threads.hpp"
#include "plan/planned_call.hpp"
#include "plan/weights_plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

kernels::Rows weight_rows(const Array& out, std::int64_t element, std::int64_t head,
                          std::int64_t row) {
  return {static_cast<char*>(out.data) + element * out.strides[0] + head * out.strides[1] +
              row * out.strides[2],
          0, out.strides[2], out.strides[3]};
}

/// Queries past the length of their batch element weigh nothing, and have no scores.
template <class T>
void clear_rows(const kernels::Rows& rows, std::int64_t count, std::int64_t keys, Stage stage) {
  const T nothing = stage == Stage::weights ? T(0) : -std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < keys; ++j) {
      __builtin_memcpy(rows.data + i * rows.row_stride + j * rows.column_stride, &nothing,
                       sizeof(T));
    }
  }
}

/// Takes away what is done to the scores, and to which of them, after a stage.
void stop_at(Stage stage, kernels::ScoreUnit& unit) {
  if (stage >= Stage::masked) return;
  unit.alibi = nullptr;
  unit.score_mod.function = {};
  unit.position_bias.table = nullptr;
  unit.bias.data = nullptr;
  unit.mask_kind = kernels::MaskKind::none;
  unit.reach_begin = -kFarthest;
  unit.reach_end = kFarthest;
  if (stage == Stage::scaled) unit.softcap = nullptr;
}

}  // namespace

void Plan::weights(std::span<const std::int64_t> rows, std::int64_t first_key,
                   std::int64_t last_key, const Array& out, Stage stage) const {
  const CheckedProblem& problem = call_->problem;
  validate_weights(rows, first_key, last_key, out, problem);
  const WeightsPlan plan = plan_weights(problem, rows);
  const auto run_count = static_cast<std::int64_t>(plan.runs.size());
  ThreadScratch scratch(plan.scratch_bytes, plan.threads);
  parallel_for(plan.units, plan.threads, [&](std::int64_t n, int thread) {
    const Run& run = plan.runs[static_cast<std::size_t>(n % run_count)];
    const std::int64_t head = n / run_count % problem.query_heads;
    const std::int64_t element = n / run_count / problem.query_heads;
    const std::int64_t count =
        std::clamp<std::int64_t>(problem.queries_of(element) - run.first, 0, run.count);
    const auto clear = problem.dtype == DType::float64 ? clear_rows<double> : clear_rows<float>;
    clear(weight_rows(out, element, head, run.place + count), run.count - count,
          last_key - first_key, stage);
    if (count == 0) return;
    kernels::WeightsUnit unit;
    unit.scores = score_unit(plan.tiling, {element, head, run.first, count});
    stop_at(stage, unit.scores);
    unit.before_softmax = stage != Stage::weights;
    unit.out = weight_rows(out, element, head, run.place);
    unit.first_key = first_key;
    unit.last_key = last_key;
    unit.scratch = scratch.of(thread);
    plan.tiling.kernel->weights(unit);
  });
}

}  // namespace regard
