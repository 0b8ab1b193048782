// The kernels of one compute type, over one vector type: what an instruction set's file offers.
#pragma once

#include "kernels/backward/backward.hpp"
#include "kernels/decode/decode.hpp"
#include "kernels/forward/forward.hpp"
#include "kernels/forward/forward_group.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/probes/roofline.hpp"
#include "kernels/tangent/tangent.hpp"
#include "kernels/tiles/store_rows.hpp"
#include "kernels/weights/summary.hpp"
#include "kernels/weights/weights.hpp"

namespace regard::kernels {
namespace {

template <class V>
std::size_t scratch_bytes(const ScratchSizes& sizes) {
  ScratchMemory forward = {nullptr, 0}, summary = {nullptr, 0};
  ForwardBlock<V, FmaProducts<V>>::count(forward, sizes);
  SummaryBlock<V>::count(summary, sizes);  // and more than the weights need
  ScratchMemory decode = {nullptr, 0};
  DecodeScratch<typename V::scalar>(decode, round_up(sizes.head_dim, V::lanes),
                                    round_up(sizes.value_dim, V::lanes));
  const std::size_t most = forward.used > summary.used ? forward.used : summary.used;
  return most > decode.used ? most : decode.used;
}

template <class V>
constexpr Kernels kernels_of() {
  using B = BackwardTiles<V>;
  return {{V::lanes, V::panel_rows, V::query_block, V::key_tile},
          forward<V>,
          forward_group<V>,
          group_state_bytes<V>,
          decode<V>,
          finish_decode<V>,
          decode_state_bytes<V>,
          weights<V>,
          summary<V>,
          scratch_bytes<V>,
          store_rows<V>,
          fma_loop<V>,
          read_loop<V>,
          {B::lanes, B::panel_rows, B::query_block, B::key_tile},
          backward<B>,
          backward_bytes<B>,
          tangent<V>,
          tangent_bytes<V>};
}

}  // namespace
}  // namespace regard::kernels
