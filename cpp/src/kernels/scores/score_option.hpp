// What an option of the scores is: one file, and in it a member for each place where it is felt.
//
//   query_factor       what is a factor of a query joins its scale (scale.hpp)
//   rows in the lanes  set_rows, set_keys, set_tile, then apply: forward, weights, summary,
//                      gradients and tangents, which score a block of rows against a tile
//   keys in the lanes  apply_row: decode, which scores a row against a chunk of keys
//   by tile            apply_tile and apply_chunk in their place, for all scores of a panel and
//   tile,
//                      or of some rows and a chunk, at once
//   the way back       slope: what dS is multiplied by on its way to Q and K;
//                      Gradient: what dS adds to the option's own gradient, score by score
//                      (add) or summed over the keys of a row (add_row)
//
// What the two layouts compute is one function of registers where the arithmetic is the same.
// order.hpp lists the options; what an option does not need it takes from ScoreOption.
//
// Scores are in base 2: Q' was packed times scale * log2(e), so S' already holds log2 of the
// weights up to a constant, and everything added to it is scaled by log2(e) too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/tiles/panel.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

/// Keys that a vector of rows is scored against in one step: bytes of masks are transposed 16 at a
/// time.
inline constexpr std::int64_t kScoreStep = 16;

/// Where a panel of rows meets keys of a tile: rows [row, row + rows) of the block, filled up to
/// `lanes`, and `count` keys from `begin` on, the tile's `first_key`-th and on.
struct TilePlace {
  std::int64_t row, rows, lanes, begin, count, first_key;
};

/// Scores of a vector of rows, from the panel's `r`-th on, and of `count` keys, from the place's
/// `j`-th on; that of key n is at St + n * ld.
template <class T>
struct ScoreStep {
  T* St;
  std::ptrdiff_t ld;
  std::int64_t r, j, count;
};

/// Scores of a row of a kv head and of the chunk of keys from `begin` on, of which those of
/// [from, to) count and whole vectors of [low, high) exist.
template <class T>
struct ScoreRow {
  T* s;
  std::int64_t row, begin, from, to, low, high;
};

/// Derivative of what an option makes of a score by the score itself: laid out as the scores, or
/// one number a key of the place; both null: 1.
template <class T>
struct Slope {
  const T *by_score, *by_key;
};

/// Gradients that an option has of its own: none.
template <class V>
struct NoGradient {
  using T = typename V::scalar;
  NoGradient(const BackwardUnit&, ScratchMemory&) {}
  static void count(ScratchMemory&, const BackwardSizes&) {}
  static bool is_wanted(const BackwardUnit&) { return false; }
  /// Whether scores pass a function of the caller's after the option, so that `add` wants dS' from
  /// before it.
  static constexpr bool before_score_mod = false;
  /// Whether `add_row` is wanted, and not `add`.
  static bool wants_rows(const BackwardUnit&) { return false; }
  /// Whether `add` writes to what units share, and so has to be in turn.
  bool needs_turn() const { return false; }
  void start_tile() {}
  /// dS' of the keys of a panel, of the tile that begins at `tile`.
  void add(const Panel<T>&, const Keys<T>&, std::int64_t /*tile*/, const T* /*dSt*/) {}
  /// In turn, once a tile is done for all panels.
  void finish_tile(std::int64_t /*begin*/, std::int64_t /*end*/) {}
  /// The derivative by what the scores of a row of the kv head are multiplied by, besides their
  /// scale, before any option changes them.
  void add_row(std::int64_t /*row*/, double /*by_factor*/) {}
  /// In turn, once the unit is done.
  void finish() {}
};

template <class V>
struct ScoreOption {
  using T = typename V::scalar;
  using Gradient = NoGradient<V>;
  static constexpr bool changes_scores = true;    ///< then `apply` and `apply_row`
  static constexpr bool scales_queries = false;   ///< then `query_factor`
  static constexpr bool has_slope = false;        ///< then `slope`
  static constexpr bool keeps_slopes = false;     ///< has one by score: then `keep_slopes`
  static constexpr bool has_key_factors = false;  ///< then `multiply_key_factors`
  static constexpr bool hides_keys = false;       ///< then `mark_hidden` and `hides`
  static constexpr bool by_tile = false;          ///< then `apply_tile`, `apply_chunk`, `take`

  /// What a row of the kv head is multiplied by, besides the scale.
  static double query_factor(const ScoreUnit&, std::int64_t /*row*/) { return 1; }
  /// Once a block: whatever depends on its rows, and those that only fill up a vector.
  void set_rows(const ScoreUnit&, std::int64_t /*lanes*/) {}
  /// Once a tile of keys, of elements of type Key.
  template <class Key>
  void set_keys(const ScoreUnit&, const Rows&, std::int64_t /*begin*/, std::int64_t /*count*/) {}
  /// Once a panel and tile.
  void set_tile(const ScoreUnit&, const TilePlace&) {}
  /// Fetches what `apply` will read; call n of `steps`, while the scores of a tile are formed.
  void prefetch(const ScoreUnit&, std::int64_t /*keys*/, std::int64_t /*n*/,
                std::int64_t /*steps*/) const {}
  /// What the scores of a row are multiplied by before all else, with keys in the lanes.
  static void multiply_key_factors(const ScoreUnit&, std::int64_t /*begin*/, std::int64_t /*end*/,
                                   T* /*factor*/, T* /*copy*/) {}
};

/// Replaces each of `count` vectors of scores s by change(s, index).
template <class V, class Change>
inline void change_scores(typename V::scalar* St, std::ptrdiff_t ld, std::int64_t count,
                          const Change& change) {
  for (std::int64_t j = 0; j < count; ++j) {
    V::store(St + j * ld, change(V::load(St + j * ld), j));
  }
}

/// Replaces the vectors of scores s of a row by change(s, first key of the chunk).
template <class V, class Change>
inline void change_row(const ScoreRow<typename V::scalar>& row, const Change& change) {
  for (std::int64_t j = row.low; j < row.high; j += V::lanes) {
    V::store(row.s + j, change(V::load(row.s + j), j));
  }
}

}  // namespace
}  // namespace regard::kernels
