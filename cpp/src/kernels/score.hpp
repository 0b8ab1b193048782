// Which keys a block of queries can see, and what happens to their scores before the softmax.
//
// Scores are in base 2: Q' was packed times scale * log2(e), so S' already holds log2 of the
// weights up to a constant, and everything added to it is scaled by log2(e) too.
#pragma once

#include <cstddef>
#include <cstdint>

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
  const std::int64_t p = row / u.group + u.offset;
  return {clamp(p - u.left, 0, u.key_count), clamp(p + u.right + 1, 0, u.key_count)};
}

/// Keys [begin, end) of one tile and, for every row of the block, its part of them as offsets
/// from `begin`. Positions do not decrease over the rows, so neither do `first` and `last`.
template <class V>
struct TileEdge {
  using T = typename V::scalar;
  alignas(64) T first[V::query_block];  ///< first key seen; exact: a tile is short
  alignas(64) T last[V::query_block];   ///< last key seen, first - 1 or less when none

  void set(const ForwardUnit& u, std::int64_t lanes, std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = 0; r < lanes; ++r) {
      const std::int64_t row = u.first_row + (r < u.row_count ? r : u.row_count - 1);
      const KeyRange keys = reachable(u, row);
      first[r] = static_cast<T>(clamp(keys.begin, begin, end) - begin);
      last[r] = static_cast<T>(clamp(keys.end, begin, end) - begin - 1);
    }
  }
};

enum class MaskTile { all, none, mixed };

/// Looks through the bool mask of the block for the keys of one tile.
inline MaskTile inspect_mask(const char* const* addresses, std::int64_t row_count,
                             std::ptrdiff_t column_stride, std::int64_t begin, std::int64_t end) {
  bool any = false, all = true;
  for (std::int64_t r = 0; r < row_count; ++r) {
    if (r > 0 && addresses[r] == addresses[r - 1]) continue;  // broadcast along the queries
    const char* p = addresses[r] + begin * column_stride;
    unsigned char some = 0, every = 1;
    for (std::int64_t j = 0; j < end - begin; ++j) {
      const unsigned char attend = p[j * column_stride] != 0;
      some |= attend;
      every &= attend;
    }
    any |= some != 0;
    all &= every != 0;
    if (any && !all) return MaskTile::mixed;
  }
  return all ? MaskTile::all : any ? MaskTile::mixed : MaskTile::none;
}

/// s + log2(e) * bias; a bias of -inf masks whatever the score is.
template <class V>
inline typename V::reg add_bias(typename V::reg s, typename V::reg bias) {
  const typename V::reg masked = V::set1(minus_infinity<V>());
  const typename V::reg sum =
      V::fma(bias, V::set1(static_cast<typename V::scalar>(kLog2E)), s);
  return V::select(V::equal(bias, masked), masked, sum);
}

/// s where first <= j <= last, else -inf.
template <class V>
inline typename V::reg mask_edge(typename V::reg s, const TileEdge<V>& edge, std::int64_t r,
                                 typename V::scalar j) {
  const typename V::reg key = V::set1(j);
  const auto visible = V::both(V::less_equal(V::load(edge.first + r), key),
                               V::less_equal(key, V::load(edge.last + r)));
  return V::select(visible, s, V::set1(minus_infinity<V>()));
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
