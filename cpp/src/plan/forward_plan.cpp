#include "plan/forward_plan.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "plan/decode_plan.hpp"
#include "plan/latent_plan.hpp"

namespace regard {
namespace {

/// Enough for dynamic scheduling to even out the units of a causal mask: the last ones to finish
/// are then a small part of a thread's share.
constexpr std::int64_t kUnitsPerThread = 16;

double work_of(const Tiling& tiling, std::int64_t element) {
  return decodes(tiling, element) ? decode_work(tiling, element)
                                  : multiply_adds(*tiling.problem, element);
}

bool elements_differ(const Tiling& tiling) {
  const CheckedProblem& problem = *tiling.problem;
  const bool reach_differs = !problem.key_lengths.empty() || !problem.query_offsets.empty();
  return !problem.query_starts.empty() || !problem.query_lengths.empty() ||
         (reach_differs && problem.batch > 0 && (decodes(tiling, 0) || is_latent(tiling)));
}

/// Units that the work of a head set is cut into.
std::int64_t units_of(const ForwardPlan& plan, std::int64_t element) {
  if (!decodes(plan.tiling, element)) {
    return plan.tiling.blocks_of(element) * tile_groups(plan.tiling, element).count;
  }
  return plan.split ? key_groups(*plan.tiling.problem, element).count : 1;
}

bool shares_out_keys(const Tiling& tiling, std::int64_t element) {
  return !decodes(tiling, element) && tile_groups(tiling, element).count > 1;
}

/// States that are kept until the units of a head set have all been merged.
std::int64_t parts_of(const ForwardPlan& plan, std::int64_t element) {
  const Tiling& tiling = plan.tiling;
  if (decodes(tiling, element)) return plan.split ? units_of(plan, element) : 0;
  return shares_out_keys(tiling, element) ? tiling.blocks_of(element) : 0;
}

/// Cuts the rows of each head set into blocks, `panels` panels each.
void cut(ForwardPlan& plan, std::int64_t panels) {
  Tiling& tiling = plan.tiling;
  tiling.cut(panels);
  if (!elements_differ(tiling)) {
    plan.units = tiling.problem->batch * tiling.head_sets() * units_of(plan, 0);
    plan.parts = tiling.problem->batch * tiling.head_sets() * parts_of(plan, 0);
    return;
  }
  plan.first_unit.assign(1, 0);
  plan.first_part.assign(1, 0);
  for (const std::int64_t element : plan.elements) {
    plan.first_unit.push_back(plan.first_unit.back() +
                              tiling.head_sets() * units_of(plan, element));
    plan.first_part.push_back(plan.first_part.back() +
                              tiling.head_sets() * parts_of(plan, element));
  }
  plan.units = plan.first_unit.back();
  plan.parts = plan.first_part.back();
}

/// Work of all elements; if they differ, also their order: the largest first, so that none is left
/// to the end.
double order_elements(ForwardPlan& plan) {
  const std::int64_t batch = plan.tiling.problem->batch;
  if (batch == 0) return 0;
  if (!elements_differ(plan.tiling)) {
    return work_of(plan.tiling, 0) * static_cast<double>(batch);
  }
  plan.elements.resize(static_cast<std::size_t>(batch));
  std::iota(plan.elements.begin(), plan.elements.end(), 0);
  std::ranges::stable_sort(plan.elements, std::greater<>(),
                           [&](std::int64_t element) { return work_of(plan.tiling, element); });
  double work = 0;
  for (const std::int64_t element : plan.elements) work += work_of(plan.tiling, element);
  return work;
}

}  // namespace

ForwardPlan plan_forward(const CheckedProblem& problem) {
  ForwardPlan plan;
  plan.tiling = tile_by_group(problem);
  const Tiling& tiling = plan.tiling;
  const bool all_bfloat16 = std::ranges::all_of(
      std::array{&problem.query, &problem.key, &problem.value},
      [](const Operand* x) { return x->storage == kernels::Storage::bfloat16; });
  // Cosines need vectors of length 1, which are no bfloat16.
  plan.dots = all_bfloat16 && !problem.cosine ? tiling.table->bf16 : nullptr;
  const double work = order_elements(plan);
  const int most = threads_for(problem, work, problem.threads);
  plan.split = splits_groups(tiling, most);
  plan.value_in_key = value_in_key(problem);
  for (std::int64_t element = 0; element < problem.batch && is_latent(tiling); ++element) {
    plan.in_turn |= shares_out_keys(tiling, element);
  }
  // A block of several panels fetches each tile of keys once for all of them; but the threads need
  // enough units to share. A row's result does not depend on its block, so threads may matter here.
  // Queries and keys of latent attention are so wide that L2 has no room for more than one panel.
  const std::int64_t most_panels = tiling.tiles.query_block / tiling.tiles.panel_rows;
  for (std::int64_t panels = plan.in_turn ? 1 : most_panels; panels > 0; --panels) {
    if (problem.batch > 0) cut(plan, panels);
    if (plan.units >= kUnitsPerThread * most) break;
  }
  plan.threads = static_cast<int>(std::clamp<std::int64_t>(plan.units, 1, most));
  const kernels::ScratchSizes sizes = {problem.head_dim, problem.value_dim, tiling.key_tile, 0,
                                       problem.has_score_mod()};
  plan.scratch_bytes = tiling.kernel->scratch_bytes(sizes);
  if (plan.split) plan.part_bytes = tiling.kernel->decode_state_bytes(problem.value_dim);
  if (plan.in_turn) {
    const std::int64_t rows = std::min(tiling.tiles.query_block, tiling.segment);
    plan.part_bytes =
        std::max(plan.part_bytes, tiling.kernel->group_state_bytes(rows, problem.value_dim));
  }
  if (plan.dots) {
    plan.scratch_bytes = std::max(plan.scratch_bytes, plan.dots->scratch_bytes(sizes));
  }
  return plan;
}

Unit ForwardPlan::unit_at(std::int64_t index) const {
  std::int64_t element, part = 0;
  if (elements.empty()) {
    const std::int64_t per_element = tiling.head_sets() * units_of(*this, 0);
    element = index / per_element;
    if (parts > 0) part = element * tiling.head_sets() * parts_of(*this, 0);
    index %= per_element;
  } else {
    const auto after = std::ranges::upper_bound(first_unit, index);
    const auto place = static_cast<std::size_t>(after - first_unit.begin() - 1);
    element = elements[place];
    part = first_part[place];
    index -= first_unit[place];
  }
  const std::int64_t per_set = units_of(*this, element), head_set = index / per_set;
  if (decodes(tiling, element)) {
    if (!split) {
      return {element, head_set, 0, key_groups(*tiling.problem, element).count, true, 0};
    }
    return {element, head_set, index % per_set, 1, true, part + head_set * per_set};
  }
  // Blocks of one head follow each other, so that its keys and values stay in the cache; the last
  // block comes first, because under a causal mask it has the most work.
  const std::int64_t blocks = tiling.blocks_of(element), at = index % per_set;
  Unit unit = tiling.block_at(element, head_set, blocks - 1 - at % blocks);
  unit.part = part + head_set * blocks + at % blocks;
  unit.group = at / blocks;
  unit.groups = per_set / blocks;
  return unit;
}

}  // namespace regard
