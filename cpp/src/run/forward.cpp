#include <atomic>
#include <limits>
#include <memory>

#include "base/threads.hpp"
#include "isa/fetch.hpp"
#include "plan/decode_plan.hpp"
#include "plan/planned_call.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/padding.hpp"
#include "run/scratch.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

using kernels::ForwardUnit;

struct Outputs {
  Operand out, lse;
};

ForwardUnit forward_unit(const Tiling& tiling, const Outputs& outputs, const Unit& at) {
  const CheckedProblem& problem = *tiling.problem;
  const std::int64_t head = at.head_set * tiling.unit_heads;
  ForwardUnit unit;
  unit.scores = score_unit(tiling, at);
  unit.value =
      stored_rows(problem.value, problem.value_scales, problem, at.element, head / problem.group);
  unit.out = head_rows(outputs.out, problem, at.element, head, problem.query_starts);
  unit.out_storage = problem.query.storage;
  unit.lse = head_rows(outputs.lse, problem, at.element, head, problem.query_starts);
  unit.value_dim = problem.value_dim;
  unit.dropout = unit_dropout(problem, at.element, head);
  return unit;
}

/// States of groups of keys that were attended to by different units, and how many are done.
struct Parts {
  std::unique_ptr<char[]> states;
  std::unique_ptr<std::atomic<std::int64_t>[]> done;  ///< at the first of a head set's
};

/// A unit of groups of keys; whoever forms the last state of its rows merges them.
void decode(const ForwardPlan& plan, const Outputs& outputs, const Parts& parts, const Unit& at,
            void* scratch) {
  const Tiling& tiling = plan.tiling;
  const std::int64_t value_dim = tiling.problem->value_dim;
  const KeyGroups groups = key_groups(*tiling.problem, at.element);
  kernels::DecodeUnit unit;
  unit.forward =
      forward_unit(tiling, outputs, {at.element, at.head_set, 0, tiling.rows_of(at.element)});
  unit.forward.scratch = scratch;
  unit.first_key = groups.first_key;
  unit.group_keys = groups.keys;
  unit.groups = groups.count;
  unit.first_group = at.first;
  unit.last_group = at.first + at.count;
  unit.parts = nullptr;
  unit.fetch = cpu_fetch();
  if (!plan.split || groups.count == 1) return tiling.kernel->decode(unit);
  const auto part = static_cast<std::size_t>(at.part);
  unit.parts = parts.states.get() + part * tiling.kernel->decode_state_bytes(value_dim);
  tiling.kernel->decode(unit);
  if (parts.done[part].fetch_add(1) + 1 == groups.count) tiling.kernel->finish_decode(unit);
}

void run(const ForwardPlan& plan, const Outputs& outputs) {
  const Tiling& tiling = plan.tiling;
  const CheckedProblem& problem = *tiling.problem;
  ThreadScratch scratch(plan.scratch_bytes, plan.threads);
  Parts parts;
  if (plan.parts > 0) {
    const auto count = static_cast<std::size_t>(plan.parts);
    parts.states = std::make_unique_for_overwrite<char[]>(
        count * tiling.kernel->decode_state_bytes(problem.value_dim));
    parts.done = std::make_unique<std::atomic<std::int64_t>[]>(count);
  }
  const auto forward = plan.dots ? plan.dots->forward : tiling.kernel->forward;
  parallel_for(plan.units, plan.threads, [&](std::int64_t index, int thread) {
    const Unit at = plan.unit_at(index);
    if (at.count <= 0) return;
    if (at.decodes) return decode(plan, outputs, parts, at, scratch.of(thread));
    ForwardUnit unit = forward_unit(tiling, outputs, at);
    unit.scratch = scratch.of(thread);
    forward(unit);
  });
  clear_padding(problem, outputs.out, outputs.lse, -std::numeric_limits<double>::infinity());
}

}  // namespace

void Plan::check(const Array& out, const Array* lse) const {
  validate_output("out", out, call_->problem, 2);
  if (lse != nullptr) validate_output("lse", *lse, call_->problem, 1);
}

void Plan::run(const Array& out, const Array* lse) const {
  Outputs outputs;
  outputs.out = validate_output("out", out, call_->problem, 2);
  if (lse != nullptr) outputs.lse = validate_output("lse", *lse, call_->problem, 1);
  regard::run(call_->forward, outputs);
}

void attention(const Problem& problem, const Array& out, const Array* lse) {
  Plan(problem).run(out, lse);
}

}  // namespace regard
