// The kernels of one compute type, over one vector type: what an instruction set's file offers.
#pragma once

#include "backward.hpp"
#include "forward.hpp"
#include "roofline.hpp"
#include "summary.hpp"
#include "tangent.hpp"
#include "weights.hpp"

namespace regard::kernels {
namespace {

template <class V>
std::size_t scratch_bytes(const ScratchSizes& sizes) {
  ScratchMemory forward = {nullptr, 0}, summary = {nullptr, 0};
  ForwardBlock<V>::count(forward, sizes);
  SummaryBlock<V>::count(summary, sizes);  // and more than the weights need
  return forward.used > summary.used ? forward.used : summary.used;
}

template <class V>
constexpr Kernels kernels_of() {
  using B = BackwardTiles<V>;
  return {{V::lanes, V::panel_rows, V::query_block, V::key_tile},
          forward<V>,
          weights<V>,
          summary<V>,
          scratch_bytes<V>,
          fma_loop<V>,
          {B::lanes, B::panel_rows, B::query_block, B::key_tile},
          backward<B>,
          backward_bytes<B>,
          tangent<V>,
          tangent_bytes<V>};
}

}  // namespace
}  // namespace regard::kernels
