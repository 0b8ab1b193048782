// A Plan from a problem, and what its outputs look like.
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

#include "plan/planned_call.hpp"
#include "regard/attention.hpp"
#include "validate/validate.hpp"

namespace regard {

Plan::Plan(const Problem& problem) {
  auto call = std::make_unique_for_overwrite<PlannedCall>();
  try {
    validate(problem, call->problem);
    call->forward = plan_forward(call->problem);
  } catch (const MemoryError&) {
    throw;
  } catch (const std::bad_alloc&) {  // lists of numbers for each head or batch element
    throw MemoryError(memory_message(problem, call->problem));
  } catch (const std::length_error&) {
    throw MemoryError(memory_message(problem, call->problem));
  }
  call_ = std::move(call);
}
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
Plan::~Plan() = default;

std::span<const std::int64_t> Plan::out_shape() const {
  return {call_->problem.out_shape.data(), static_cast<std::size_t>(call_->problem.out_rank)};
}
std::span<const std::int64_t> Plan::lse_shape() const {
  return out_shape().first(static_cast<std::size_t>(call_->problem.out_rank - 1));
}
DType Plan::dtype() const { return call_->problem.out_dtype; }
DType Plan::compute_dtype() const { return call_->problem.dtype; }

}  // namespace regard
