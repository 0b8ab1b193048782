#include "regard/attention.hpp"

#include <algorithm>

#include "geometry.hpp"
#include "plan.hpp"
#include "scratch.hpp"
#include "threads.hpp"
#include "validate.hpp"

namespace regard {
namespace {

using kernels::ForwardUnit;
using kernels::Rows;

/// Data pointer of one batch element; `element` counts the batch axes in C order.
char* element_data(const Operand& operand, const Geometry& g, std::int64_t element) {
  char* data = operand.data;
  if (data == nullptr) return nullptr;
  for (int i = g.batch_rank - 1; i >= 0; --i) {
    const auto at = static_cast<std::size_t>(i);
    data += element % g.batch_shape[at] * operand.batch_strides[at];
    element /= g.batch_shape[at];
  }
  return data;
}

/// Rows of the heads that share kv head `kv_head`.
Rows head_rows(const Operand& operand, const Geometry& g, std::int64_t element,
               std::int64_t first_head) {
  char* data = element_data(operand, g, element);
  if (data != nullptr) data += first_head * operand.head_stride;
  return {data, operand.head_stride, operand.row_stride, operand.column_stride};
}

struct Outputs {
  Operand out, lse;
};

ForwardUnit make_unit(const Geometry& g, const Outputs& outputs, std::int64_t index) {
  // Blocks of one head follow each other, so that its keys and values stay in the cache; the last
  // block comes first, because under a causal mask it has the most work.
  const std::int64_t block = g.blocks - 1 - index % g.blocks;
  const std::int64_t kv_head = index / g.blocks % g.kv_heads;
  const std::int64_t element = index / g.blocks / g.kv_heads;
  const std::int64_t head = kv_head * g.group;
  const RowRange rows = block_rows(g, block);
  ForwardUnit unit;
  unit.query = head_rows(g.query, g, element, head);
  unit.key = head_rows(g.key, g, element, kv_head);
  unit.value = head_rows(g.value, g, element, kv_head);
  unit.out = head_rows(outputs.out, g, element, head);
  unit.lse = head_rows(outputs.lse, g, element, head);
  unit.mask = head_rows(g.mask, g, element, head);
  unit.bias = head_rows(g.bias, g, element, head);
  unit.group = g.group;
  unit.first_row = rows.first;
  unit.row_count = rows.count;
  unit.key_count = g.keys_of(element);
  unit.head_dim = g.head_dim;
  unit.value_dim = g.value_dim;
  unit.key_tile = g.key_tile;
  unit.offset = g.offset_of(element);
  unit.left = g.left;
  unit.right = g.right;
  unit.scale = g.scale;
  return unit;
}

void run(const Geometry& g, const Outputs& outputs) {
  constexpr std::size_t page = 4096;
  const std::size_t stride = (g.scratch_bytes + page - 1) / page * page;
  char* scratch = static_cast<char*>(thread_scratch(stride * static_cast<std::size_t>(g.threads)));
  parallel_for(g.units, g.threads, [&](std::int64_t index, int thread) {
    ForwardUnit unit = make_unit(g, outputs, index);
    unit.scratch = scratch + stride * static_cast<std::size_t>(thread);
    g.kernel->run(unit);
  });
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
DType Plan::dtype() const { return geometry_->dtype; }

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
