// The options of a unit, in the order in which they touch a score:
//
//   key norms (cosine), softcap, ALiBi, position bias, bias, mask, position
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/score_hooks.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/mask.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

template <class V>
class ScoreOptions {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  explicit ScoreOptions(const ScoreUnit& unit) : u(unit), mask(unit) {
    any = u.cosine || u.softcap || u.alibi || u.position_bias.table || u.bias.data;
    const std::int64_t rows = (u.row_count + V::lanes - 1) / V::lanes * V::lanes;
    if (u.softcap) softcap.set_rows(u, rows);
    if (u.alibi) alibi.set_rows(u, rows);
  }

  bool any;  ///< some option changes scores

  /// Derivatives of the softcap are wanted, laid out as the scores at S.
  void keep_slopes(const T* S, T* derivatives) {
    scores = S;
    slopes = derivatives;
  }

  /// 1 / |k| of the keys of the last `set_tile`, with cosine similarity.
  const T* inverse_key_norms() const { return norms.inverse + first_key; }

  /// Once a tile of keys, of elements of type Key.
  template <class Key>
  void set_keys(const Rows& keys, std::int64_t begin, std::int64_t count) {
    if (u.cosine) norms.template set_tile<Key>(keys, u.head_dim, begin, count);
    tile = begin;
  }

  /// What the mask lets rows [row, row + rows) of the block see of the keys.
  Seen look(std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t count) {
    if (u.mask_kind == MaskKind::none) return Seen::all;
    return mask.look(row, rows, begin, count);
  }

  /// Once a panel and tile.
  void set_tile(std::int64_t row, std::int64_t rows, std::int64_t lanes, std::int64_t begin,
                std::int64_t count) {
    panel_row = row;
    first_key = begin - tile;
    if (u.alibi) alibi.set_tile(u, row, lanes, begin);
    if (u.position_bias.table) {
      if (u.position_bias.width > 0) {
        grid.set_tile(u, row, rows, begin, count);
      } else {
        relative.set_tile(u, row, lanes, begin, count);
      }
    }
    if (u.bias.data) bias.set_tile(u, row, rows, begin);
  }

  /// Fetches what will be wanted once the scores of the tile are there; n counts `steps` calls.
  void prefetch(std::int64_t keys, std::int64_t n, std::int64_t steps) const {
    if (u.bias.data) bias.prefetch(u.bias.column_stride, keys, n, steps);
  }

  /// Scores of the keys [from, to) of the tile for one vector of rows, in place; returns their
  /// maximum.
  reg apply(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t from, std::int64_t to,
            const TileEdge<V>* edge, bool mixed) {
    constexpr std::int64_t step = MaskTile<V>::keys;
    static_assert(step == ArrayBias<V>::keys);
    reg largest = V::set1(minus_infinity<V>());
    for (std::int64_t j = from; j < to; j += step) {
      const std::int64_t count = to - j < step ? to - j : step;
      T* s = St + j * ld;
      if (u.cosine) norms.apply(s, ld, first_key + j, count);
      if (u.softcap && slopes) {
        softcap.apply(s, slopes + (s - scores), ld, panel_row + r, count);
      } else if (u.softcap) {
        softcap.apply(s, ld, panel_row + r, count);
      }
      if (u.alibi) alibi.apply(s, ld, panel_row, r, j, count);
      if (u.position_bias.table) {
        if (u.position_bias.width > 0) {
          grid.apply(s, ld, r, j, count);
        } else {
          relative.apply(s, ld, r, j, count);
        }
      }
      if (u.bias.data) bias.apply(s, ld, u.bias.column_stride, r, j, count);
      if (mixed) mask.gather(r, j, count);
      largest = V::max(largest, hide(s, ld, r, j, count, edge, mixed, minus_infinity<V>()));
    }
    return largest;
  }

  /// Gives the weights of hidden scores the value -0, in place. It adds nothing, but can be told
  /// from a weight that underflowed, or that belongs to a score of -inf.
  void mark_hidden(T* Pt, std::ptrdiff_t ld, std::int64_t r, std::int64_t from, std::int64_t to,
                   const TileEdge<V>* edge, bool mixed) {
    for (std::int64_t j = from; j < to; j += MaskTile<V>::keys) {
      const std::int64_t count = to - j < MaskTile<V>::keys ? to - j : MaskTile<V>::keys;
      if (u.bias.data) bias.mark_hidden(Pt + j * ld, ld, u.bias.column_stride, r, j, count);
      if (mixed) mask.gather(r, j, count);
      hide(Pt + j * ld, ld, r, j, count, edge, mixed, -T(0));
    }
  }

 private:
  const ScoreUnit& u;
  std::int64_t tile = 0, first_key = 0, panel_row = 0;
  const T* scores = nullptr;
  T* slopes = nullptr;
  KeyNorms<V> norms;
  Softcap<V> softcap;
  Alibi<V> alibi;
  RelativeBias<V> relative;
  GridBias<V> grid;
  ArrayBias<V> bias;
  MaskTile<V> mask;

  /// `hidden` where the mask or the position hides the key; returns the maximum of the result.
  reg hide(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t first, std::int64_t count,
           const TileEdge<V>* edge, bool mixed, T hidden) {
    const reg instead = V::set1(hidden);
    reg largest = V::set1(minus_infinity<V>());
    if (!mixed && !edge) {
      for (std::int64_t j = 0; j < count; ++j) largest = V::max(largest, V::load(St + j * ld));
      return largest;
    }
    for (std::int64_t j = 0; j < count; ++j) {
      reg s = V::load(St + j * ld);
      if (mixed) s = V::select(V::nonzero_bytes(mask.flags(j)), s, instead);
      if (edge) s = edge->select(s, instead, r, first + j);
      V::store(St + j * ld, s);
      largest = V::max(largest, s);
    }
    return largest;
  }
};

}  // namespace
}  // namespace regard::kernels
