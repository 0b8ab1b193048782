// The online softmax of a block: the state of its rows, and one tile of scores after another.
#pragma once

#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/softmax/softmax.hpp"
#include "kernels/tiles/panel.hpp"

namespace regard::kernels {
namespace {

template <class V>
struct OnlineSoftmax {
  using T = typename V::scalar;
  alignas(64) T m[V::query_block];  ///< reference of the exponents
  alignas(64) T l[V::query_block];  ///< sum of 2^(s - m)

  void start() {
    for (auto& x : m) x = minus_infinity<V>();
    for (auto& x : l) x = 0;
  }

  /// What O is divided by.
  const T* weight_sums() const { return l; }

  /// Moves m for the maximum of the tile's scores, and l with it. True if some row's m moved:
  /// alpha is what its earlier sums have to be multiplied by.
  bool raise(const Panel<T>& panel, const T* maximum, T* alpha) {
    bool moved = false;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      moved |= raise_reference<V>(V::load(maximum + r), m + panel.row + r, alpha + r);
    }
    if (!moved) return false;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      T* sum = l + panel.row + r;
      V::store(sum, V::mul(V::load(sum), V::load(alpha + r)));
    }
    return true;
  }

  /// P' = 2^(S' - m) in place, l += its sums; at an edge, only over the keys that are used.
  /// `changed`: what is done next is not the product, which RoundedSoftmax wants to know.
  template <class Block>
  void weigh(Block& block, const Panel<T>& panel, const Keys<T>& keys, bool /*changed*/ = true) {
    if (!keys.edged) {
      tile_weights<V>(panel.ld / V::lanes, block.St, panel.ld, keys.count, m + panel.row,
                      l + panel.row);
      return;
    }
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      block.used_keys(panel, keys, r, from, to);
      weights_block<V, 1>(block.St + from * panel.ld + r, panel.ld, to - from, m + panel.row + r,
                          l + panel.row + r);
    }
  }

  /// Makes changed weights what the product takes: they are.
  template <class Block>
  void join(Block&, const Panel<T>&, const Keys<T>&) {}
};

/// m and l of every row, over all keys: what has to be known before a weight is. Calls
/// seen(panel, maximum, first key) for every tile.
template <class V, class Block, class Seen>
void sum_rows(Block& block, OnlineSoftmax<V>& softmax, const Seen& seen) {
  using T = typename V::scalar;
  softmax.start();
  block.for_each_tile([&](std::int64_t begin, std::int64_t end) {
    for (int i = 0; i < block.panel_count; ++i) {
      alignas(64) T maximum[V::panel_rows], alpha[V::panel_rows];
      Keys<T> keys;
      const Panel<T>& panel = block.panels[i];
      if (!block.reach(panel, begin, end, keys) || !block.scores(panel, keys, maximum)) continue;
      seen(panel, maximum, keys.begin);
      softmax.raise(panel, maximum, alpha);
      softmax.weigh(block, panel, keys);
    }
  });
}

/// The sum of a row with the sink, one more logit that has no value:
/// Z = 2^reference * sum, so that weights are factor * 2^(s - m).
template <class T>
struct RowSum {
  T reference, sum, factor;
};

template <class T>
inline RowSum<T> close_row(const ScoreUnit& u, std::int64_t row, T m, T l) {
  if (u.sink == nullptr) return {m, l, 1 / l};
  const double sink = u.sink[u.group == 1 ? 0 : row % u.group] * kLog2E;
  if (sink == -__builtin_inf()) return {m, l, 1 / l};
  const double reference = l == 0 || sink > static_cast<double>(m) ? sink : static_cast<double>(m);
  const double shrink = l == 0 ? 0 : __builtin_exp2(static_cast<double>(m) - reference);
  const double sum = shrink * static_cast<double>(l) + __builtin_exp2(sink - reference);
  return {static_cast<T>(reference), static_cast<T>(sum), static_cast<T>(shrink / sum)};
}

}  // namespace
}  // namespace regard::kernels
