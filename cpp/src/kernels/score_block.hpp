// What happens to scores between the two products: bias and masks, on a block of keys x one vector
// of queries. A score option is a step of ScoreBlock::transform.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_api.hpp"
#include "pack.hpp"
#include "score.hpp"
#include "unroll.hpp"

namespace regard::kernels {
namespace {

/// s + log2(e) * bias; a bias of -inf masks whatever the score is. Finite biases stay finite: the
/// lowest float is a common way to say "masked", and a row full of it still has weights.
template <class V>
inline typename V::reg add_bias(typename V::reg s, typename V::reg bias) {
  using T = typename V::scalar;
  constexpr T infinity = static_cast<T>(__builtin_inf());
  constexpr T most = sizeof(T) == 4 ? static_cast<T>(2e38) : static_cast<T>(1e308);
  const auto too_large = V::both(V::less(V::set1(most), bias), V::less(bias, V::set1(infinity)));
  const typename V::reg finite =
      V::max(V::set1(-most), V::select(too_large, V::set1(most), bias));  // bias where it is NaN
  const typename V::reg sum = V::fma(finite, V::set1(static_cast<T>(kLog2E)), s);
  const typename V::reg masked = V::set1(-infinity);
  return V::select(V::equal(bias, masked), masked, sum);
}

template <class V>
class ScoreBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  /// Keys a block; bytes are transposed 16 at a time.
  static constexpr std::int64_t keys = 16;

  /// `edge` is null when every row sees every key as far as positions go.
  ScoreBlock(const ForwardUnit& unit, const TileEdge<V>* tile_edge, bool masked)
      : u(unit), edge(tile_edge), mixed(masked) {}

  /// Rows [r, r + V::lanes) of a panel of `rows`, against the tile whose first key is `first_key`.
  void set_rows(const char* const* bias_rows, const char* const* mask_rows, std::int64_t r,
                std::int64_t rows, std::int64_t first_key) {
    row = r;
    row_count = rows - r < V::lanes ? rows - r : V::lanes;
    for (std::int64_t i = 0; i < row_count; ++i) {
      if (u.bias.data) bias_at[i] = bias_rows[r + i] + first_key * u.bias.column_stride;
      if (mixed) mask_at[i] = mask_rows[r + i] + first_key * u.mask.column_stride;
    }
  }

  /// S'[begin .. end) of this vector in place, at most `keys` of them; returns the maximum of
  /// `running` and what is left visible.
  reg transform(T* St, std::ptrdiff_t ld, std::int64_t begin, std::int64_t end, reg running) {
    if (u.bias.data) gather_bias(begin, end - begin);
    if (mixed) gather_mask(begin, end - begin);
    const reg minus_inf = V::set1(minus_infinity<V>());
    for (std::int64_t j = begin; j < end; ++j) {
      reg s = V::load(St + j * ld);
      if (u.bias.data) s = add_bias<V>(s, V::load(bias + (j - begin) * V::lanes));
      if (mixed) s = V::select(V::nonzero_bytes(mask + (j - begin) * keys), s, minus_inf);
      if (edge) s = edge->mask(s, row, j);
      V::store(St + j * ld, s);
      running = V::max(running, s);
    }
    return running;
  }

 private:
  const ForwardUnit& u;
  const TileEdge<V>* edge;
  bool mixed;
  std::int64_t row = 0, row_count = 0;
  const char* bias_at[V::lanes];
  const char* mask_at[V::lanes];
  alignas(64) T bias[keys * V::lanes];
  alignas(64) std::uint8_t mask[keys * keys];

  void gather_bias(std::int64_t key, std::int64_t count) {
    const char* at[V::lanes];
    for (std::int64_t i = 0; i < row_count; ++i) at[i] = bias_at[i] + key * u.bias.column_stride;
    transpose_rows<V>(at, row_count, u.bias.column_stride, count, T(1), bias, V::lanes);
  }

  void gather_mask(std::int64_t key, std::int64_t count) {
    const char* at[V::lanes];
    for (std::int64_t i = 0; i < row_count; ++i) at[i] = mask_at[i] + key * u.mask.column_stride;
    transpose_mask<V>(at, row_count, u.mask.column_stride, count, mask, keys);
  }
};

}  // namespace
}  // namespace regard::kernels
