// The backward pass: jobs shared out to threads, turns taken at what they share.
//
// Blocks of query rows of one kv head all add to its dK and dV. Each adds a tile's part when the
// block before it has: sums are formed in one order whatever the threads do, nothing is stored
// twice, and a block waits only if it is a whole tile ahead of its turn.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "plan/backward_plan.hpp"
#include "plan/planned_call.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "run/turns.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

using kernels::BackwardUnit;

/// Sums that jobs or heads keep for themselves, added up in order at the end.
struct Parts {
  std::vector<double> sinks, alibi;  ///< (jobs, heads of a unit)
  std::vector<double> tables;        ///< (batch elements, query heads, table_size)
};

BackwardUnit backward_unit(const Tiling& tiling, const BackwardOperands& b, const Unit& at) {
  const CheckedProblem& problem = *tiling.problem;
  const std::int64_t head = at.head_set * tiling.unit_heads, kv_head = head / problem.group;
  const std::int64_t element = at.element;
  BackwardUnit unit;
  unit.scores = score_unit(tiling, at);
  unit.value = stored_rows(problem.value, problem.value_scales, problem, element, kv_head);
  unit.out = head_rows(b.out, problem, element, head, problem.query_starts);
  unit.dout = head_rows(b.dout, problem, element, head, problem.query_starts);
  unit.lse = head_rows(b.lse, problem, element, head, problem.query_starts);
  unit.dlse = head_rows(b.dlse, problem, element, head, problem.query_starts);
  unit.dquery = head_rows(b.query, problem, element, head, problem.query_starts);
  unit.dkey = head_rows(b.key, problem, element, kv_head, problem.key_starts);
  unit.dvalue = head_rows(b.value, problem, element, kv_head, problem.key_starts);
  unit.dquery_scale = head_rows(b.query_scale, problem, element, head, problem.query_starts);
  unit.dbias = head_rows(b.bias, problem, element, head, {});
  unit.value_dim = problem.value_dim;
  unit.out_storage = problem.query.storage;
  unit.dropout = unit_dropout(problem, element, head);
  unit.table_size = b.table_size;
  unit.wait = wait;
  unit.pass = pass;
  return unit;
}

/// Sets an array of any strides to zero.
void clear(const Array& array) {
  std::int64_t count = 1;
  for (const std::int64_t extent : array.dims()) count *= extent;
  const auto bytes = static_cast<std::int64_t>(size(array.dtype));
  std::int64_t run = 1;  // numbers that lie side by side
  int axes = array.rank;
  while (axes > 0) {
    const auto last = static_cast<std::size_t>(axes - 1);
    if (array.shape[last] != 1 && array.strides[last] != run * bytes) break;
    run *= array.shape[last];
    --axes;
  }
  for (std::int64_t n = 0; n < count; n += run) {
    char* at = static_cast<char*>(array.data);
    std::int64_t rest = n / run;
    for (int i = axes - 1; i >= 0; --i) {
      const auto axis = static_cast<std::size_t>(i);
      at += rest % array.shape[axis] * array.strides[axis];
      rest /= array.shape[axis];
    }
    std::memset(at, 0, static_cast<std::size_t>(run * bytes));
  }
}

void add(double x, char* to) {
  double sum;
  __builtin_memcpy(&sum, to, sizeof sum);
  sum += x;
  __builtin_memcpy(to, &sum, sizeof sum);
}

void add_parts(const BackwardPlan& plan, const BackwardOperands& b, const Parts& parts) {
  const CheckedProblem& problem = *plan.tiling.problem;
  const std::vector<BackwardJob>& jobs = plan.jobs;
  const std::int64_t unit_heads = plan.tiling.unit_heads;
  for (std::size_t n = 0; n < jobs.size(); ++n) {
    for (std::int64_t i = 0; i < unit_heads; ++i) {
      const auto part = n * static_cast<std::size_t>(unit_heads) + static_cast<std::size_t>(i);
      const std::int64_t head = jobs[n].rows.head_set * unit_heads + i;
      if (b.sinks.data) add(parts.sinks[part], b.sinks.data + head * b.sinks.column_stride);
      if (b.alibi_slopes.data) {
        add(parts.alibi[part], b.alibi_slopes.data +
                                   jobs[n].rows.element * b.alibi_slopes.row_stride +
                                   head * b.alibi_slopes.column_stride);
      }
    }
  }
  for (std::int64_t n = 0; n < problem.batch * problem.query_heads * b.table_size; ++n) {
    const std::int64_t head = n / b.table_size % problem.query_heads % b.table_heads;
    b.table[head * b.table_size + n % b.table_size] += parts.tables[static_cast<std::size_t>(n)];
  }
}

}  // namespace

void Plan::backward(const Saved& saved, const Gradients& gradients) const {
  const CheckedProblem& problem = call_->problem;
  const BackwardOperands b = validate_backward(saved, gradients, problem);
  if (!gradients.accumulate) {
    for (const auto* array :
         {&gradients.query, &gradients.key, &gradients.value, &gradients.bias, &gradients.sinks,
          &gradients.alibi_slopes, &gradients.position_bias, &gradients.query_scale}) {
      if (*array) clear(**array);
    }
  }
  const BackwardPlan plan = plan_backward(problem, {gradients.bias.has_value(), b.table_size});
  const Tiling& tiling = plan.tiling;
  const auto count = static_cast<std::int64_t>(plan.jobs.size());
  const auto unit_heads = static_cast<std::size_t>(tiling.unit_heads);
  Parts parts;
  if (b.sinks.data) parts.sinks.resize(plan.jobs.size() * unit_heads);
  if (b.alibi_slopes.data) parts.alibi.resize(plan.jobs.size() * unit_heads);
  parts.tables.resize(static_cast<std::size_t>(problem.batch * problem.query_heads * b.table_size));
  const auto progress = std::make_unique<Progress[]>(plan.jobs.size());
  ThreadScratch scratch(plan.scratch_bytes, plan.threads);
  parallel_in_turn(count, plan.threads, [&](std::int64_t taken, int thread) {
    const std::size_t n = plan.order[static_cast<std::size_t>(taken)];
    const BackwardJob& job = plan.jobs[n];
    const std::int64_t head = job.rows.head_set * tiling.unit_heads;
    BackwardUnit unit = backward_unit(tiling, b, job.rows);
    Turn turn = {&progress[n],
                 job.previous < 0 ? nullptr : &progress[static_cast<std::size_t>(job.previous)]};
    unit.turn = &turn;
    unit.dbias_shared = plan.all_in_turn;
    unit.dsink = b.sinks.data ? &parts.sinks[n * unit_heads] : nullptr;
    unit.dalibi = b.alibi_slopes.data ? &parts.alibi[n * unit_heads] : nullptr;
    const std::int64_t place = (job.rows.element * problem.query_heads + head) * b.table_size;
    unit.dtable = b.table ? parts.tables.data() + place : nullptr;
    unit.scratch = scratch.of(thread);
    tiling.kernel->backward(unit);
  });
  add_parts(plan, b, parts);
}

}  // namespace regard
