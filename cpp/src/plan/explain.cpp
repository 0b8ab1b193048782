// What a problem and the plans for it say about themselves.
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "plan/backward_plan.hpp"
#include "plan/decode_plan.hpp"
#include "plan/latent_plan.hpp"
#include "plan/planned_call.hpp"
#include "plan/score_mod_calls.hpp"
#include "plan/summary_plan.hpp"
#include "plan/tangent_plan.hpp"
#include "plan/weights_plan.hpp"
#include "regard/attention.hpp"

namespace regard {
namespace {

DType kept_as(const Operand& operand, const CheckedProblem& problem) {
  switch (operand.storage) {
    case kernels::Storage::bfloat16: return DType::bfloat16;
    case kernels::Storage::float16: return DType::float16;
    case kernels::Storage::int8: return DType::int8;
    default: return problem.dtype;
  }
}

/// Whether tiles of whole vectors can be read where they lie; `pairs`: of two 16-bit numbers.
bool tiles_in_place(const Operand& operand, const Tiling& tiling, bool pairs) {
  const CheckedProblem& problem = *tiling.problem;
  auto element_size = static_cast<std::int64_t>(size(kept_as(operand, problem)));
  const bool dense = operand.column_stride == element_size;
  const bool whole_tiles = problem.page_size == 0 || problem.page_size % tiling.key_tile == 0;
  if (pairs) element_size *= 2;
  return dense && (operand.storage == kernels::Storage::compute || pairs) && whole_tiles &&
         operand.row_stride % element_size == 0 && operand.page_stride % element_size == 0 &&
         reinterpret_cast<std::uintptr_t>(operand.data) %
                 static_cast<std::uintptr_t>(element_size) ==
             0;
}

/// What passes over tiles of keys have in common; `scored`: how often functions see each score.
template <class Plan>
Explanation explain_tiles(const char* algorithm, const Plan& plan, std::int64_t units, int scored) {
  const Tiling& tiling = plan.tiling;
  const CheckedProblem& problem = *tiling.problem;
  Explanation e = {};
  e.isa = tiling.table->isa;
  e.algorithm = algorithm;
  e.product_dtype = problem.dtype;
  e.query_block = tiling.tiles.query_block;
  e.key_tile = tiling.key_tile;
  e.heads_a_unit = tiling.unit_heads;
  e.score_mod_calls = scored * score_mod_calls(tiling, false);
  e.units = units;
  e.threads = plan.threads;
  e.scratch_bytes = plan.scratch_bytes;
  e.reads_value = true;
  e.key_in_place = tiles_in_place(problem.key, tiling, false);
  e.value_in_place =
      problem.value_dim % tiling.tiles.lanes == 0 && tiles_in_place(problem.value, tiling, false);
  return e;
}

Explanation without_values(Explanation e) {
  e.reads_value = e.value_in_place = false;
  return e;
}

Explanation explain_forward(const ForwardPlan& plan) {
  const CheckedProblem& problem = *plan.tiling.problem;
  bool tiles = problem.batch == 0, rows = false;
  std::int64_t groups = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    const bool decoded = decodes(plan.tiling, element);
    (decoded ? rows : tiles) = true;
    const std::int64_t count =
        decoded ? key_groups(problem, element).count : tile_groups(plan.tiling, element).count;
    if (decoded || count > 1) groups = std::max(groups, count);
  }
  Explanation e = explain_tiles(rows ? "forward+decode" : "forward", plan, plan.units, 1);
  e.score_mod_calls = score_mod_calls(plan.tiling, true);
  e.key_groups = groups;
  e.value_in_key = plan.value_in_key;
  if (!tiles) {
    e.algorithm = "decode";
    e.query_block = kernels::kDecodeRows;
    e.key_tile = kernels::kDecodeChunk;
    const auto dense = [&](const Operand& operand) {
      return operand.column_stride == static_cast<std::int64_t>(size(kept_as(operand, problem)));
    };
    e.key_in_place = dense(problem.key);
    e.value_in_place = dense(problem.value);
  } else if (plan.dots != nullptr) {
    e.product_dtype = DType::bfloat16;
    e.key_in_place = problem.head_dim % 2 == 0 && tiles_in_place(problem.key, plan.tiling, true);
    e.value_in_place = false;
  }
  return e;
}

Explanation explain_weights(const CheckedProblem& problem) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(problem.queries));
  std::iota(rows.begin(), rows.end(), 0);
  const WeightsPlan plan = plan_weights(problem, rows);
  return without_values(explain_tiles("weights", plan, plan.units, 2));
}

Explanation explain_summary(const CheckedProblem& problem, std::int64_t top_k) {
  const SummaryPlan plan = plan_summary(problem, top_k);
  return without_values(explain_tiles("summary", plan, plan.units, 2));
}

Explanation explain_backward(const CheckedProblem& problem) {
  const BackwardPlan plan =
      plan_backward(problem, {problem.bias.data != nullptr, problem.position_bias_places()});
  return explain_tiles("backward", plan, static_cast<std::int64_t>(plan.jobs.size()), 2);
}

Explanation explain_tangent(const CheckedProblem& problem) {
  const TangentPlan plan = plan_tangent(problem);
  return explain_tiles("tangent", plan, plan.units, 2);
}

}  // namespace

Explanation Plan::explain(Pass pass, std::int64_t top_k) const {
  switch (pass) {
    case Pass::weights: return explain_weights(call_->problem);
    case Pass::summary: return explain_summary(call_->problem, top_k);
    case Pass::backward: return explain_backward(call_->problem);
    case Pass::tangent: return explain_tangent(call_->problem);
    default: return explain_forward(call_->forward);
  }
}

DType Plan::query_dtype() const { return call_->problem.out_dtype; }
DType Plan::key_dtype() const { return kept_as(call_->problem.key, call_->problem); }
DType Plan::value_dtype() const { return kept_as(call_->problem.value, call_->problem); }
std::int64_t Plan::batch() const { return call_->problem.batch; }
std::int64_t Plan::query_heads() const { return call_->problem.query_heads; }
std::int64_t Plan::kv_heads() const { return call_->problem.kv_heads; }
std::int64_t Plan::queries() const { return call_->problem.queries; }
std::int64_t Plan::keys() const { return call_->problem.keys; }
std::int64_t Plan::head_dim() const { return call_->problem.head_dim; }
std::int64_t Plan::value_dim() const { return call_->problem.value_dim; }
double Plan::scale() const { return call_->problem.scale.of(0); }
bool Plan::has_score_mod() const { return call_->problem.has_score_mod(); }

namespace {

/// Keys [begin, end) that query i of a head can reach by its position.
std::pair<std::int64_t, std::int64_t> reach(const CheckedProblem& problem, std::int64_t element,
                                            std::int64_t head, std::int64_t i) {
  const std::int64_t keys = problem.keys_of(element);
  const auto [begin, end] = problem.reach_of(element, head);
  return {std::clamp<std::int64_t>(i + begin, 0, keys), std::clamp<std::int64_t>(i + end, 0, keys)};
}

/// Keys of [begin, end) that lie in tiles that a block mask holds.
std::int64_t keys_in_tiles(const CheckedProblem& problem, std::int64_t element, std::int64_t head,
                           std::int64_t i, std::int64_t begin, std::int64_t end) {
  const kernels::BlockMask tiles = problem.blocks_of(element, head);
  const std::int64_t row = i / tiles.size;
  std::int64_t count = 0;
  for (std::int64_t entry = tiles.row_begin[row]; entry < tiles.row_begin[row + 1]; ++entry) {
    const std::int64_t first = tiles.columns[entry] * tiles.size;
    count += std::max<std::int64_t>(0, std::min(end, first + tiles.size) - std::max(begin, first));
  }
  return count;
}

}  // namespace

double Plan::visible_share() const {
  const CheckedProblem& problem = call_->problem;
  const bool blocks = problem.mask_kind == kernels::MaskKind::blocks;
  const bool heads_differ =
      problem.left.differ() || problem.right.differ() || problem.blocks.head_stride != 0;
  const std::int64_t heads =
      heads_differ ? problem.query_heads : std::min<std::int64_t>(problem.query_heads, 1);
  double visible = 0, all = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    // Padding counts as hidden; packed pieces have none.
    all += static_cast<double>(heads) *
           (problem.query_starts.empty()
                ? static_cast<double>(problem.queries) * static_cast<double>(problem.keys)
                : static_cast<double>(problem.queries_of(element)) *
                      static_cast<double>(problem.keys_of(element)));
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t i = 0; i < problem.queries_of(element); ++i) {
        const auto [begin, end] = reach(problem, element, head, i);
        const std::int64_t count = std::max<std::int64_t>(end - begin, 0);
        visible += static_cast<double>(blocks ? keys_in_tiles(problem, element, head, i, begin, end)
                                              : count);
      }
    }
  }
  return all == 0 ? 0 : visible / all;
}

std::string Plan::options() const {
  const CheckedProblem& problem = call_->problem;
  std::string list;
  const auto add = [&](bool on, const char* what) {
    if (on) list += (list.empty() ? "" : ", ") + std::string(what);
  };
  add(problem.cosine, "cosine");
  add(problem.query_scale.data != nullptr, "query scale");
  add(!problem.softcap.empty(), "softcap");
  add(problem.alibi_given, "alibi");
  add(problem.has_score_mod(), problem.score_mod.tile ? "score mod in Python" : "score mod");
  add(problem.position_bias.table != nullptr,
      problem.position_bias.width > 0 ? "grid bias" : "relative bias");
  add(problem.bias.data != nullptr, "bias");
  add(problem.mask_kind == kernels::MaskKind::bytes, "mask");
  add(problem.mask_kind == kernels::MaskKind::bits, "packed mask");
  add(problem.mask_kind == kernels::MaskKind::blocks, "block mask");
  add(problem.sinks_given, "sinks");
  add(problem.dropout.threshold > 0, "dropout");
  return list;
}

}  // namespace regard
