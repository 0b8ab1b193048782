// From S' and dP' of a tile to P' and dS', in place, lanes = queries:
//
//   P'  = 2^(S' - lse)            lse in base 2; what dropout drops is 0 for dV, but not for dS
//   dS' = P' o (dP' - D)          D = rowsum(dO o O) - dLSE
//
// then, on the way to Q and K, dS' times the slopes of the options.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/gradient_products.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/softmax/dropout.hpp"

namespace regard::kernels {
namespace {

template <class V>
class ScoreGradients {
  using T = typename V::scalar;
  using reg = typename V::reg;
  using mask = typename V::mask;

 public:
  alignas(64) T lse[V::query_block];  ///< in base 2, +inf for rows that only fill up a vector
  alignas(64) T D[V::query_block];

  /// P' and dS' of a panel; dPt null: P' only. `guarded`: something is hidden in the tile, and
  /// scores that were not computed hold anything. `careful`: hidden ones shall be -0. `whole`: all
  /// of the tile will be read.
  void weigh(QueryBlock<V>& block, DropoutRows<V>* dropout, const Panel<T>& panel,
             const Keys<T>& keys, T* dPt, bool guarded, bool careful, bool whole) {
    T* St = block.St;
    const bool two_steps = dropout || careful || !dPt;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      const Range used = used_keys(block, panel, keys, r);
      const std::int64_t at = used.from * panel.ld + r, count = used.to - used.from;
      const reg m = V::load(lse + panel.row + r), d = V::load(D + panel.row + r);
      if (two_steps) {
        weights(St + at, panel.ld, count, m);
      } else if (guarded || r + V::lanes > panel.rows) {
        pull<true>(St + at, dPt + at, panel.ld, count, m, d);
      } else {
        pull<false>(St + at, dPt + at, panel.ld, count, m, d);
      }
    }
    if (careful) block.mark_hidden(panel, keys);
    for (std::int64_t r = 0; r < panel.ld && two_steps; r += V::lanes) {
      const Range used = used_keys(block, panel, keys, r);
      const std::int64_t at = used.from * panel.ld + r, count = used.to - used.from;
      const reg d = V::load(D + panel.row + r);
      const mask all = V::equal(V::zero(), V::zero());
      T* p = St + at;
      T* dp = dPt ? dPt + at : nullptr;
      if (dropout) {
        dropout->visit(panel.row + r, keys.begin + used.from, count,
                       [&](std::int64_t j, mask kept) { finish(p, dp, j * panel.ld, d, kept); });
      } else if (dPt) {
        for (std::int64_t j = 0; j < count; ++j) finish(p, dp, j * panel.ld, d, all);
      }
    }
    if (keys.edged) clear_rest(block, panel, keys, dPt, careful, whole);
  }

  /// dS' on its way to Q and K: times what the options make of the score after them.
  void pass_options(QueryBlock<V>& block, const Panel<T>& panel, const Keys<T>& keys, T* dSt) {
    const Slopes<V> slopes = block.slopes();
    if (!slopes.any()) return;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      const Range used = used_keys(block, panel, keys, r);
      for (std::int64_t j = used.from; j < used.to; ++j) {
        const std::int64_t at = j * panel.ld + r;
        const reg before = V::load(dSt + at);
        const reg ds = slopes.template multiply<true>(before, at, j);
        // Hidden: 0, whatever is there.
        V::store(dSt + at, V::select(V::equal(before, V::zero()), V::zero(), ds));
      }
    }
  }

 private:
  struct Range {
    std::int64_t from, to;
  };

  static Range used_keys(const QueryBlock<V>& block, const Panel<T>& panel, const Keys<T>& keys,
                         std::int64_t r) {
    Range range;
    block.used_keys(panel, keys, r, range.from, range.to);
    if (range.to < range.from) range.to = range.from;
    return range;
  }

  static void weights(T* St, std::ptrdiff_t ld, std::int64_t count, reg m) {
    for (std::int64_t j = 0; j < count; ++j) {
      V::store(St + j * ld, V::exp2(V::sub(V::load(St + j * ld), m)));
    }
  }

  template <bool Guard>
  static void pull(T* St, T* dPt, std::ptrdiff_t ld, std::int64_t count, reg m, reg d) {
    for (std::int64_t j = 0; j < count; ++j) {
      const reg p = V::exp2(V::sub(V::load(St + j * ld), m));
      reg ds = V::mul(p, V::sub(V::load(dPt + j * ld), d));
      if constexpr (Guard) ds = V::select(V::equal(p, V::zero()), V::zero(), ds);
      V::store(St + j * ld, p);
      V::store(dPt + j * ld, ds);
    }
  }

  /// dS' from P' and dP', then what dropout leaves of P'. Hidden weights keep their sign.
  static void finish(T* St, T* dPt, std::ptrdiff_t at, reg d, mask kept) {
    const reg p = V::load(St + at);
    if (dPt) {
      const reg dp = V::select(kept, V::load(dPt + at), V::zero());
      const reg ds = V::mul(p, V::sub(dp, d));
      V::store(dPt + at, V::select(V::equal(p, V::zero()), V::zero(), ds));
    }
    V::store(St + at, V::select(kept, p, V::mul(p, V::zero())));
  }

  /// What no row sees, or as much of it as shares a block of a product with what one sees.
  static void clear_rest(const QueryBlock<V>& block, const Panel<T>& panel, const Keys<T>& keys,
                         T* dPt, bool careful, bool whole) {
    const std::int64_t margin = whole ? keys.count : kMostOutRows;
    const reg nothing = V::set1(careful ? -T(0) : T(0));
    const auto clear = [&](std::int64_t j, std::int64_t r) {
      V::store(block.St + j * panel.ld + r, nothing);
      if (dPt) V::store(dPt + j * panel.ld + r, nothing);
    };
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      const Range used = used_keys(block, panel, keys, r);
      const std::int64_t first = clamp(used.from - margin, 0, keys.count);
      const std::int64_t last = clamp(used.to + margin, 0, keys.count);
      for (std::int64_t j = first; j < used.from; ++j) clear(j, r);
      for (std::int64_t j = used.to; j < last; ++j) clear(j, r);
    }
  }
};

}  // namespace
}  // namespace regard::kernels
