#include <atomic>
#include <limits>
#include <memory>

#include "base/threads.hpp"
#include "plan/plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "validate/geometry.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

using kernels::ForwardUnit;
using kernels::Rows;

struct Outputs {
  Operand out, lse;
};

ForwardUnit forward_unit(const Geometry& g, const Outputs& outputs, const Unit& at) {
  const std::int64_t head = at.head_set * g.unit_heads;
  ForwardUnit unit;
  unit.scores = score_unit(g, at);
  unit.value = stored_rows(g.value, g.value_scales, g, at.element, head / g.group);
  unit.out = head_rows(outputs.out, g, at.element, head, g.query_starts);
  unit.out_storage = g.query.storage;
  unit.lse = head_rows(outputs.lse, g, at.element, head, g.query_starts);
  unit.value_dim = g.value_dim;
  unit.dropout = g.dropout;
  unit.dropout.head = static_cast<std::uint32_t>(head);
  unit.dropout.element = static_cast<std::uint32_t>(at.element);
  return unit;
}

/// Queries past the length of their batch element: out = 0, lse = -inf.
template <class T>
void clear_padding(const Geometry& g, const Outputs& outputs) {
  for (std::int64_t element = 0; element < g.batch; ++element) {
    for (std::int64_t head = 0; head < g.query_heads; ++head) {
      const Rows out = head_rows(outputs.out, g, element, head, g.query_starts);
      const Rows lse = head_rows(outputs.lse, g, element, head, g.query_starts);
      for (std::int64_t i = g.queries_of(element); i < g.query_room(element); ++i) {
        for (std::int64_t c = 0; c < g.value_dim; ++c) {
          __builtin_memset(out.data + i * out.row_stride + c * out.column_stride, 0,
                           size(g.out_dtype));
        }
        constexpr T nothing = -std::numeric_limits<T>::infinity();
        if (lse.data) __builtin_memcpy(lse.data + i * lse.row_stride, &nothing, sizeof nothing);
      }
    }
  }
}

/// States of groups of keys that were attended to by different units, and how many are done.
struct Parts {
  std::unique_ptr<char[]> states;
  std::unique_ptr<std::atomic<std::int64_t>[]> done;  ///< at the first of a head set's
};

/// A unit of groups of keys; whoever forms the last state of its rows merges them.
void decode(const Geometry& g, const Outputs& outputs, const Parts& parts, const Unit& at,
            void* scratch) {
  const KeyGroups groups = key_groups(g, at.element);
  kernels::DecodeUnit unit;
  unit.forward = forward_unit(g, outputs, {at.element, at.head_set, 0, g.rows_of(at.element)});
  unit.forward.scratch = scratch;
  unit.first_key = groups.first_key;
  unit.group_keys = groups.keys;
  unit.groups = groups.count;
  unit.first_group = at.first;
  unit.last_group = at.first + at.count;
  unit.parts = nullptr;
  if (!g.split || groups.count == 1) return g.kernel->decode(unit);
  const auto part = static_cast<std::size_t>(at.part);
  unit.parts = parts.states.get() + part * g.kernel->decode_state_bytes(g.value_dim);
  g.kernel->decode(unit);
  if (parts.done[part].fetch_add(1) + 1 == groups.count) g.kernel->finish_decode(unit);
}

void run(const Geometry& g, const Outputs& outputs) {
  ThreadScratch scratch(g.scratch_bytes, g.threads);
  Parts parts;
  if (g.parts > 0) {
    const auto count = static_cast<std::size_t>(g.parts);
    parts.states =
        std::make_unique_for_overwrite<char[]>(count * g.kernel->decode_state_bytes(g.value_dim));
    parts.done = std::make_unique<std::atomic<std::int64_t>[]>(count);
  }
  parallel_for(g.units, g.threads, [&](std::int64_t index, int thread) {
    const Unit at = unit_at(g, index);
    if (at.count <= 0) return;
    if (at.decodes) return decode(g, outputs, parts, at, scratch.of(thread));
    ForwardUnit unit = forward_unit(g, outputs, at);
    unit.scratch = scratch.of(thread);
    (g.dots ? g.dots->forward : g.kernel->forward)(unit);
  });
  if (g.query_lengths.empty()) return;
  g.dtype == DType::float32 ? clear_padding<float>(g, outputs) : clear_padding<double>(g, outputs);
}

}  // namespace

Plan::Plan(const Problem& problem) : geometry_(std::make_unique_for_overwrite<Geometry>()) {
  validate(problem, *geometry_);
  plan(*geometry_);
}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

std::span<const std::int64_t> Plan::out_shape() const {
  return {geometry_->out_shape.data(), static_cast<std::size_t>(geometry_->out_rank)};
}
std::span<const std::int64_t> Plan::lse_shape() const {
  return out_shape().first(static_cast<std::size_t>(geometry_->out_rank - 1));
}
DType Plan::dtype() const { return geometry_->out_dtype; }
DType Plan::compute_dtype() const { return geometry_->dtype; }

void Plan::run(const Array& out, const Array* lse) const {
  Outputs outputs;
  outputs.out = validate_output("out", out, *geometry_, 2);
  if (lse != nullptr) outputs.lse = validate_output("lse", *lse, *geometry_, 1);
  regard::run(*geometry_, outputs);
}

void attention(const Problem& problem, const Array& out, const Array* lse) {
  Plan(problem).run(out, lse);
}

}  // namespace regard
