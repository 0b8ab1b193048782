// The gradients that options have of their own, for the backward pass.
#pragma once

#include "kernels/kernel_api.hpp"
#include "kernels/scores/order.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

/// The gradients that options have of their own.
template <class V, template <class> class... Option>
struct GradientChain {
  GradientChain(const BackwardUnit&, ScratchMemory&) {}
  static void count(ScratchMemory&, const BackwardSizes&) {}
  static bool any_wanted(const BackwardUnit&) { return false; }
  static bool any_wants_rows(const BackwardUnit&) { return false; }
  static bool any_wants_scores(const BackwardUnit&) { return false; }
  template <class Body>
  void for_each_wanted(const BackwardUnit&, const Body&) {}
};
template <class V, template <class> class First, template <class> class... Rest>
struct GradientChain<V, First, Rest...> {
  using Gradient = typename First<V>::Gradient;
  Gradient first;
  GradientChain<V, Rest...> rest;

  GradientChain(const BackwardUnit& unit, ScratchMemory& memory)
      : first(unit, memory), rest(unit, memory) {}
  static void count(ScratchMemory& memory, const BackwardSizes& sizes) {
    Gradient::count(memory, sizes);
    GradientChain<V, Rest...>::count(memory, sizes);
  }
  static bool any_wanted(const BackwardUnit& unit) {
    return Gradient::is_wanted(unit) || GradientChain<V, Rest...>::any_wanted(unit);
  }
  static bool any_wants_rows(const BackwardUnit& unit) {
    return Gradient::wants_rows(unit) || GradientChain<V, Rest...>::any_wants_rows(unit);
  }
  static bool any_wants_scores(const BackwardUnit& unit) {
    return (Gradient::is_wanted(unit) && !Gradient::wants_rows(unit)) ||
           GradientChain<V, Rest...>::any_wants_scores(unit);
  }
  template <class Body>
  void for_each_wanted(const BackwardUnit& unit, const Body& body) {
    if (Gradient::is_wanted(unit)) body(first);
    rest.for_each_wanted(unit, body);
  }
};

/// Which chain of gradients belongs to a chain of options.
template <class V, template <class> class... Option>
GradientChain<V, Option...> gradients_of(const OptionChain<V, Option...>&);
template <class V>
using OptionGradients = decltype(gradients_of(OptionsInOrder<V>()));

}  // namespace
}  // namespace regard::kernels
