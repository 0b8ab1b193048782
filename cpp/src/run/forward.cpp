#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>

#include "base/threads.hpp"
#include "isa/fetch.hpp"
#include "plan/decode_plan.hpp"
#include "plan/latent_plan.hpp"
#include "plan/planned_call.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/padding.hpp"
#include "run/scratch.hpp"
#include "run/turns.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

using kernels::ForwardUnit;

struct Outputs {
  Operand out, lse;
};

ForwardUnit forward_unit(const ForwardPlan& plan, const Outputs& outputs, const Unit& at) {
  const Tiling& tiling = plan.tiling;
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
  unit.value_in_key = plan.value_in_key;
  unit.dropout = unit_dropout(problem, at.element, head);
  return unit;
}

/// States that different units add to, or that are merged in the end.
struct Parts {
  std::unique_ptr<char[]> states;
  std::unique_ptr<std::atomic<std::int64_t>[]> done;  ///< groups, at the first of a head set's
  std::unique_ptr<Progress[]> merged;                 ///< groups of each block that shares them out
};

/// A unit of groups of keys; whoever forms the last state of its rows merges them.
void decode(const ForwardPlan& plan, const Outputs& outputs, const Parts& parts, const Unit& at,
            void* scratch) {
  const Tiling& tiling = plan.tiling;
  const KeyGroups groups = key_groups(*tiling.problem, at.element);
  kernels::DecodeUnit unit;
  unit.forward =
      forward_unit(plan, outputs, {at.element, at.head_set, 0, tiling.rows_of(at.element)});
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
  unit.parts = parts.states.get() + part * plan.part_bytes;
  tiling.kernel->decode(unit);
  if (parts.done[part].fetch_add(1) + 1 == groups.count) tiling.kernel->finish_decode(unit);
}

/// A block of rows against one of the groups of its keys.
void attend_to_group(const ForwardPlan& plan, const Outputs& outputs, const Parts& parts,
                     const Unit& at, void* scratch) {
  const KeyGroups groups = tile_groups(plan.tiling, at.element);
  const auto part = static_cast<std::size_t>(at.part);
  Progress* merged = &parts.merged[part];
  Turn turn = {merged, at.group == 0 ? nullptr : merged};
  kernels::GroupUnit unit;
  unit.forward = forward_unit(plan, outputs, at);
  unit.forward.scratch = scratch;
  unit.first_key = groups.first_key + at.group * groups.keys;
  unit.last_key = std::min(unit.first_key + groups.keys, plan.tiling.problem->keys_of(at.element));
  unit.group = at.group;
  unit.groups = at.groups;
  unit.total = parts.states.get() + part * plan.part_bytes;
  unit.wait = wait;
  unit.pass = pass;
  unit.turn = &turn;
  (plan.dots ? plan.dots->forward_group : plan.tiling.kernel->forward_group)(unit);
}

void run(const ForwardPlan& plan, const Outputs& outputs) {
  const Tiling& tiling = plan.tiling;
  const CheckedProblem& problem = *tiling.problem;
  ThreadScratch scratch(plan.scratch_bytes, plan.threads);
  Parts parts;
  if (plan.parts > 0) {
    const auto count = static_cast<std::size_t>(plan.parts);
    parts.states = std::make_unique_for_overwrite<char[]>(count * plan.part_bytes);
    parts.done = std::make_unique<std::atomic<std::int64_t>[]>(count);
    if (plan.in_turn) parts.merged = std::make_unique<Progress[]>(count);
  }
  const auto forward = plan.dots ? plan.dots->forward : tiling.kernel->forward;
  const auto run_unit = [&](std::int64_t index, int thread) {
    const Unit at = plan.unit_at(index);
    if (at.count <= 0) return;
    if (at.decodes) return decode(plan, outputs, parts, at, scratch.of(thread));
    if (at.groups > 1) return attend_to_group(plan, outputs, parts, at, scratch.of(thread));
    ForwardUnit unit = forward_unit(plan, outputs, at);
    unit.scratch = scratch.of(thread);
    forward(unit);
  };
  if (plan.in_turn) {
    parallel_in_turn(plan.units, plan.threads, run_unit);
  } else {
    parallel_for(plan.units, plan.threads, run_unit);
  }
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
