// A function of the caller's: s becomes f(s), score by score; its gradient says the slopes.
//
// A function takes the scores of a query as they lie next to each other, in natural units: rows of
// the tile are copied out of S', times ln 2, and back. One that has an address is called for each
// row, and only for keys that the row can reach by its position; any other once for the tile, whose
// scores out of reach are 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/score_option.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/reach.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

/// Scores of rows against the keys [from, from + count), in natural units, row by row.
template <class T>
struct ScoreRows {
  T *scores, *slopes;  ///< slopes are null where they are not wanted
  std::int64_t ld;     ///< numbers from row to row
  std::int64_t row, rows, from, count;
};

template <class V>
struct ScoreMod : ScoreOption<V> {
  using T = typename V::scalar;
  using reg = typename V::reg;
  static constexpr bool by_tile = true;

  static bool is_on(const ScoreUnit& u) {
    return u.score_mod.function.rows != nullptr || u.score_mod.function.tile != nullptr;
  }

  static void count(ScratchMemory& memory, std::int64_t key_tile) {
    ScoreMod().take(memory, key_tile);
  }
  void take(ScratchMemory& memory, std::int64_t key_tile) {
    ld = round_up(key_tile, V::lanes);
    rows = memory.take<T>(V::panel_rows * ld);
    row_slopes = memory.take<T>(V::panel_rows * ld);
    slopes = memory.take<T>(V::panel_rows * key_tile);
  }
  void want_slopes() { wanted = true; }
  const T* tile_slopes() const { return wanted ? slopes : nullptr; }

  void set_tile(const ScoreUnit&, const TilePlace& at) { place = at; }

  /// All scores of a panel and tile; `edge` is null if every row reaches every key.
  void apply_tile(const ScoreUnit& u, T* St, const TileEdge<V>* edge) const {
    const std::int64_t panel_ld = place.lanes;
    for (std::int64_t r = 0; r < panel_ld; r += V::lanes) {
      copy_out(St + r, panel_ld, rows + r * ld);
    }
    for (std::int64_t r = 0; r < place.rows; ++r) {
      const std::int64_t low = edge ? static_cast<std::int64_t>(edge->first[r]) : 0;
      const std::int64_t high = edge ? static_cast<std::int64_t>(edge->last[r]) + 1 : place.count;
      T* row = rows + r * ld;
      for (std::int64_t j = 0; j < low; ++j) row[j] = 0;  // what was not computed may be anything
      for (std::int64_t j = high > low ? high : low; j < place.count; ++j) row[j] = 0;
    }
    T* with_slopes = wanted ? row_slopes : nullptr;
    call(u, {rows, with_slopes, ld, u.first_row + place.row, place.rows, place.begin, place.count});
    for (std::int64_t r = 0; r < panel_ld; r += V::lanes) {
      copy_in(rows + r * ld, V::set1(static_cast<T>(kLog2E)), St + r, panel_ld);
      if (wanted) copy_in(row_slopes + r * ld, V::set1(1), slopes + r, panel_ld);
    }
  }

  /// The same for `count` rows of a chunk, `step` numbers apart.
  static void apply_chunk(const ScoreUnit& u, const ScoreRow<T>& first, std::int64_t count,
                          std::int64_t step) {
    for (std::int64_t r = 0; r < count; ++r) {
      const KeyRange keys = reachable(u, first.row + r);
      const std::int64_t low = clamp(keys.begin - first.begin, first.from, first.to);
      const std::int64_t high = clamp(keys.end - first.begin, low, first.to);
      T* s = first.s + r * step;
      multiply(s, first, static_cast<T>(kLn2));
      for (std::int64_t j = first.from; j < low; ++j) s[j] = 0;
      for (std::int64_t j = high; j < first.to; ++j) s[j] = 0;
    }
    call(u, {first.s + first.from, nullptr, step, first.row, count, first.begin + first.from,
             first.to - first.from});
    for (std::int64_t r = 0; r < count; ++r) {
      multiply(first.s + r * step, first, static_cast<T>(kLog2E));
    }
  }

 private:
  TilePlace place = {};
  std::int64_t ld = 0;
  T *rows = nullptr, *row_slopes = nullptr;  ///< rows of a panel x ld
  T* slopes = nullptr;                       ///< laid out as S'
  bool wanted = false;

  static void multiply(T* s, const ScoreRow<T>& row, T times) {
    for (std::int64_t j = row.low; j < row.high; j += V::lanes) {
      V::store(s + j, V::mul(V::load(s + j), V::set1(times)));
    }
  }

  /// A vector of rows of S', in natural units, one after the other.
  void copy_out(const T* St, std::int64_t panel_ld, T* to) const {
    const reg times = V::set1(static_cast<T>(kLn2));
    for (std::int64_t j = 0; j < place.count; j += V::lanes) {
      reg block[V::lanes];
      REGARD_UNROLL
      for (int i = 0; i < V::lanes; ++i) {
        block[i] =
            j + i < place.count ? V::mul(V::load(St + (j + i) * panel_ld), times) : V::zero();
      }
      V::transpose(block);
      REGARD_UNROLL
      for (int i = 0; i < V::lanes; ++i) V::store(to + i * ld + j, block[i]);
    }
  }

  /// And back.
  void copy_in(const T* from, reg times, T* St, std::int64_t panel_ld) const {
    for (std::int64_t j = 0; j < place.count; j += V::lanes) {
      reg block[V::lanes];
      REGARD_UNROLL
      for (int i = 0; i < V::lanes; ++i) block[i] = V::mul(V::load(from + i * ld + j), times);
      V::transpose(block);
      const std::int64_t left = place.count - j;
      REGARD_UNROLL
      for (int i = 0; i < V::lanes; ++i) {
        if (i < left) V::store(St + (j + i) * panel_ld, block[i]);
      }
    }
  }

  /// Slopes of what the scores are, then what becomes of them.
  static void call(const ScoreUnit& u, const ScoreRows<T>& at) {
    if (at.slopes) {
      for (std::int64_t r = 0; r < at.rows; ++r) {
        for (std::int64_t j = 0; j < at.count; ++j) at.slopes[r * at.ld + j] = 1;
      }
      call(u, u.score_mod.gradient, at, at.slopes);
    }
    call(u, u.score_mod.function, at, nullptr);
  }

  static void call(const ScoreUnit& u, const ScoreFunction& f, const ScoreRows<T>& at, T* slopes) {
    const ScoreModUnit& mod = u.score_mod;
    if (f.tile) {
      f.tile(f.user, {at.scores, slopes, at.ld, at.row, at.rows, u.group, mod.head, at.from,
                      at.count, mod.element});
      return;
    }
    for (std::int64_t r = 0; r < at.rows; ++r) {
      const std::int64_t row = at.row + r, query = query_of(u, row);
      const std::int64_t head = mod.head + (u.group == 1 ? 0 : row % u.group);
      const KeyRange reach = reachable(u, row);
      const std::int64_t low = clamp(reach.begin, at.from, at.from + at.count);
      const std::int64_t count = clamp(reach.end, low, at.from + at.count) - low;
      if (count == 0) continue;
      T* s = at.scores + r * at.ld + (low - at.from);
      if (slopes == nullptr) {
        using Rows = void (*)(T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                              std::int64_t, void*);
        reinterpret_cast<Rows>(f.rows)(s, count, query, low, head, mod.element, f.user);
      } else {
        using Rows = void (*)(T*, const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                              std::int64_t, void*);
        T* to = slopes + r * at.ld + (low - at.from);
        reinterpret_cast<Rows>(f.rows)(to, s, count, query, low, head, mod.element, f.user);
      }
    }
  }
};

}  // namespace
}  // namespace regard::kernels
