// The kernels over dot products of pairs of bfloat16: what an instruction set's file offers that
// adds them to a level of FMAs.
#pragma once

#include "kernels/blocks/dot_products.hpp"
#include "kernels/forward/forward.hpp"
#include "kernels/forward/forward_group.hpp"
#include "kernels/probes/roofline.hpp"

namespace regard::kernels {
namespace {

template <class V, class P>
std::size_t dot_scratch_bytes(const ScratchSizes& sizes) {
  ScratchMemory memory = {nullptr, 0};
  ForwardBlock<V, DotProducts<V, P>>::count(memory, sizes);
  return memory.used;
}

template <class V, class P>
constexpr DotKernels dot_kernels_of = {forward<V, DotProducts<V, P>>,
                                       forward_group<V, DotProducts<V, P>>, dot_scratch_bytes<V, P>,
                                       fma_loop<P, 2>};

}  // namespace
}  // namespace regard::kernels
