// The working memory of a forward block: its size depends on tile sizes, not on sequence lengths.
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::kernels {
namespace {

inline std::int64_t round_up(std::int64_t x, std::int64_t step) {
  return (x + step - 1) / step * step;
}

/// Arrays carved from one allocation; each starts on a cache line.
template <class V>
struct ForwardScratch {
  using T = typename V::scalar;

  T* Qt;  ///< per panel: head_dim x rows
  T* O;   ///< rows x columns of the block
  T* St;  ///< S', then P', of one panel: keys x rows
  T* K;   ///< a tile of keys, when they cannot be read in place
  T* V_;  ///< a tile of values, likewise

  /// Returns the bytes used; with a null `memory` only counts them.
  std::size_t carve(void* memory, std::int64_t head_dim, std::int64_t value_dim,
                    std::int64_t key_tile) {
    std::size_t used = 0;
    const auto take = [&](std::int64_t bytes) {
      void* at = memory ? static_cast<char*>(memory) + used : nullptr;
      used += static_cast<std::size_t>(round_up(bytes, 64));
      return at;
    };
    const auto take_scalars = [&](std::int64_t count) {
      return static_cast<T*>(take(count * static_cast<std::int64_t>(sizeof(T))));
    };
    const std::int64_t columns = round_up(value_dim, V::lanes);
    Qt = take_scalars(head_dim * V::query_block);
    O = take_scalars(V::query_block * columns);
    St = take_scalars(key_tile * V::panel_rows);
    K = take_scalars(key_tile * round_up(head_dim, V::lanes));
    V_ = take_scalars(key_tile * columns);
    return used;
  }
};

template <class V>
std::size_t forward_scratch_bytes(std::int64_t head_dim, std::int64_t value_dim,
                                  std::int64_t key_tile) {
  ForwardScratch<V> scratch;
  return scratch.carve(nullptr, head_dim, value_dim, key_tile);
}

}  // namespace
}  // namespace regard::kernels
