// Which keys a row can see by its position: causal, window and lengths.
#pragma once

#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/gemm.hpp"

namespace regard::kernels {
namespace {

inline std::int64_t clamp(std::int64_t x, std::int64_t low, std::int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/// The query of a row; its head is row % group.
inline std::int64_t query_of(const ScoreUnit& u, std::int64_t row) {
  return u.group == 1 ? row : row / u.group;  // divisions show in short sequences
}

/// The keys [begin, end).
struct KeyRange {
  std::int64_t begin, end;
};

/// The keys that a row may see as far as causal, window and lengths go.
inline KeyRange reachable(const ScoreUnit& u, std::int64_t row) {
  const std::int64_t i = query_of(u, row);
  return {clamp(i + u.reach_begin, 0, u.key_count), clamp(i + u.reach_end, 0, u.key_count)};
}

/// The part of a tile's keys that each row of a panel sees, as offsets from the tile's first key.
/// Positions do not decrease over the rows, so neither do `first` and `last`.
template <class V>
struct TileEdge {
  using T = typename V::scalar;
  alignas(64) T first[V::panel_rows];  ///< first key seen; exact as T: a tile is short
  alignas(64) T last[V::panel_rows];   ///< last key seen, first - 1 or less when none

  /// For rows [row, row + rows) of the block and `count` keys from `begin`.
  void set(const ScoreUnit& u, std::int64_t row, std::int64_t rows, std::int64_t lanes,
           std::int64_t begin, std::int64_t count) {
    for (std::int64_t r = 0; r < lanes; ++r) {
      const KeyRange keys = reachable(u, u.first_row + row + (r < rows ? r : rows - 1));
      first[r] = static_cast<T>(clamp(keys.begin - begin, 0, count));
      last[r] = static_cast<T>(clamp(keys.end - begin, 0, count) - 1);
    }
  }

  /// Narrows the vectors [from, to) to those with a row that sees one of the keys [begin, end). The
  /// others' scores are not computed, and masked whatever the memory holds.
  void visible_vectors(std::int64_t begin, std::int64_t end, std::int64_t& from,
                       std::int64_t& to) const {
    while (from < to && last[(from + 1) * V::lanes - 1] < static_cast<T>(begin)) ++from;
    while (from < to && first[(to - 1) * V::lanes] >= static_cast<T>(end)) --to;
  }

  /// The keys [from, to) that some of the rows [row, last_row] see.
  void visible_keys(std::int64_t row, std::int64_t last_row, std::int64_t& from,
                    std::int64_t& to) const {
    from = static_cast<std::int64_t>(first[row]);
    to = static_cast<std::int64_t>(last[last_row]) + 1;
  }

  /// Narrows the rows [from, to) to those that may see one of the keys [begin, end).
  void visible_rows(std::int64_t begin, std::int64_t end, std::int64_t& from,
                    std::int64_t& to) const {
    while (from < to && last[from] < static_cast<T>(begin)) ++from;
    while (from < to && first[to - 1] >= static_cast<T>(end)) --to;
  }

  /// The keys [from, to) whose weights are read for the vector of rows from `r` on: those its rows
  /// see, and those seen by rows that share a block of O with them.
  void used_keys(std::int64_t r, std::int64_t lanes, std::int64_t& from, std::int64_t& to) const {
    const std::int64_t before = r - kMostOutRows, after = r + V::lanes - 1 + kMostOutRows;
    visible_keys(before > 0 ? before : 0, after < lanes ? after : lanes - 1, from, to);
  }

  /// s for the lanes from `r` on that see key j, else `hidden`.
  typename V::reg select(typename V::reg s, typename V::reg hidden, std::int64_t r,
                         std::int64_t j) const {
    const typename V::reg key = V::set1(static_cast<T>(j));
    const auto visible =
        V::both(V::less_equal(V::load(first + r), key), V::less_equal(key, V::load(last + r)));
    return V::select(visible, s, hidden);
  }
};

}  // namespace
}  // namespace regard::kernels
