// Which keys a block of queries can see, and what happens to their scores before the softmax.
//
// Scores are in base 2: Q' was packed times scale * log2(e), so S' already holds log2 of the
// weights up to a constant, and everything added to it is scaled by log2(e) too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gemm.hpp"
#include "kernel_api.hpp"
#include "pack.hpp"
#include "unroll.hpp"

namespace regard::kernels {
namespace {

constexpr double kLog2E = 1.4426950408889634074;
constexpr double kLn2 = 0.69314718055994530942;

template <class V>
constexpr typename V::scalar minus_infinity() {
  return -static_cast<typename V::scalar>(__builtin_inf());
}

inline std::int64_t clamp(std::int64_t x, std::int64_t low, std::int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/// The keys [begin, end) that a row may see as far as causal, window and lengths go.
struct KeyRange {
  std::int64_t begin, end;
};

inline KeyRange reachable(const ForwardUnit& u, std::int64_t row) {
  const std::int64_t p = (u.group == 1 ? row : row / u.group) + u.offset;
  return {clamp(p - u.left, 0, u.key_count), clamp(p + u.right + 1, 0, u.key_count)};
}

/// The part of a tile's keys that each row of a panel sees, as offsets from the tile's first key.
/// Positions do not decrease over the rows, so neither do `first` and `last`.
template <class V>
struct TileEdge {
  using T = typename V::scalar;
  alignas(64) T first[V::panel_rows];  ///< first key seen; exact as T: a tile is short
  alignas(64) T last[V::panel_rows];   ///< last key seen, first - 1 or less when none

  /// For rows [row, row + rows) of the block and `count` keys from `begin`.
  void set(const ForwardUnit& u, std::int64_t row, std::int64_t rows, std::int64_t lanes,
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

  /// The keys [from, to) whose weights are read for the vector of rows from `r` on: those its rows
  /// see, and those seen by rows that share a block of O with them.
  void used_keys(std::int64_t r, std::int64_t lanes, std::int64_t& from, std::int64_t& to) const {
    const std::int64_t before = r - kMostOutRows, after = r + V::lanes - 1 + kMostOutRows;
    visible_keys(before > 0 ? before : 0, after < lanes ? after : lanes - 1, from, to);
  }

  /// s for the lanes from `r` on that see key j, else -inf.
  typename V::reg mask(typename V::reg s, std::int64_t r, std::int64_t j) const {
    const typename V::reg key = V::set1(static_cast<T>(j));
    const auto visible =
        V::both(V::less_equal(V::load(first + r), key), V::less_equal(key, V::load(last + r)));
    return V::select(visible, s, V::set1(minus_infinity<V>()));
  }
};

enum class MaskTile { all, none, mixed };

/// Whether any, and whether all, of `count` mask bytes are nonzero.
struct MaskRow {
  bool any, all;
};

inline MaskRow inspect_row(const char* p, std::ptrdiff_t stride, std::int64_t count) {
  unsigned char some = 0, every = 1;
  if (stride == 1) {  // a loop the compiler turns into vectors
    for (std::int64_t j = 0; j < count; ++j) {
      const unsigned char attend = p[j] != 0;
      some |= attend;
      every &= attend;
    }
  } else {
    for (std::int64_t j = 0; j < count; ++j) {
      const unsigned char attend = p[j * stride] != 0;
      some |= attend;
      every &= attend;
    }
  }
  return {some != 0, every != 0};
}

/// Looks through the bool mask of a panel for the keys [begin, end).
inline MaskTile inspect_mask(const char* const* addresses, std::int64_t row_count,
                             std::ptrdiff_t column_stride, std::int64_t begin, std::int64_t end) {
  bool any = false, all = true;
  for (std::int64_t r = 0; r < row_count; ++r) {
    if (r > 0 && addresses[r] == addresses[r - 1]) continue;  // broadcast along the queries
    const MaskRow row =
        inspect_row(addresses[r] + begin * column_stride, column_stride, end - begin);
    any |= row.any;
    all &= row.all;
    if (any && !all) return MaskTile::mixed;
  }
  return all ? MaskTile::all : MaskTile::none;
}

/// True if the row can see a key at all. Only asked when every weight of the row came out 0, which
/// scores of -inf can do as well.
template <class T>
inline bool sees_a_key(const ForwardUnit& u, std::int64_t row) {
  const KeyRange keys = reachable(u, row);
  if (u.mask.data == nullptr && u.bias.data == nullptr) return keys.begin < keys.end;
  const char* mask = row_address(u.mask, u.group, row);
  const char* bias = row_address(u.bias, u.group, row);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    if (u.mask.data != nullptr && !mask[j * u.mask.column_stride]) continue;
    if (u.bias.data != nullptr &&
        read<T>(bias + j * u.bias.column_stride) == -static_cast<T>(__builtin_inf())) {
      continue;
    }
    return true;
  }
  return false;
}

}  // namespace
}  // namespace regard::kernels
