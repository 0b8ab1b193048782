// What options do to scores between the two products. Each is a small struct with
//
//   set_tile(...)                once a panel and tile, where something depends on both
//   apply(St, ld, r, j, count)   scores of `count` keys from the tile's j-th on, for the vector of
//                                rows from `r` on; S'[j][r] is at St
//
// Scores are in base 2: Q' was packed times scale * log2(e), so S' already holds log2 of the
// weights up to a constant, and everything added to it is scaled by log2(e) too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/tanh.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/reach.hpp"
#include "kernels/tiles/storage.hpp"

namespace regard::kernels {
namespace {

/// Replaces each of `count` vectors of scores s by change(s, index).
template <class V, class Change>
inline void change_scores(typename V::scalar* St, std::ptrdiff_t ld, std::int64_t count,
                          const Change& change) {
  for (std::int64_t j = 0; j < count; ++j) {
    V::store(St + j * ld, change(V::load(St + j * ld), j));
  }
}

/// s / |k_j|: the part of the cosine that belongs to the key.
template <class V>
struct KeyNorms {
  using T = typename V::scalar;
  T inverse[V::key_tile];

  template <class Key>
  void set_tile(const Rows& keys, std::int64_t head_dim, std::int64_t begin, std::int64_t count) {
    for (std::int64_t j = 0; j < count; ++j) {
      const char* row = keys.data + (begin + j) * keys.row_stride;
      inverse[j] = static_cast<T>(inverse_norm<Key>(row, keys.column_stride, head_dim));
    }
  }
  void apply(T* St, std::ptrdiff_t ld, std::int64_t j, std::int64_t count) const {
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t n) {
      return V::mul(s, V::set1(inverse[j + n]));
    });
  }
};

/// c tanh(s / c).
template <class V>
struct Softcap {
  using T = typename V::scalar;
  alignas(64) T cap[V::query_block], inverse[V::query_block];  ///< 0 and 0: off for the row

  void set_rows(const ScoreUnit& u, std::int64_t lanes) {
    for (std::int64_t r = 0; r < lanes; ++r) {  // those that only fill up a vector too
      const double c = u.softcap[(u.first_row + r) % u.group] * kLog2E;
      cap[r] = static_cast<T>(c);
      inverse[r] = static_cast<T>(c > 0 ? 1 / c : 0);
    }
  }
  void apply(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t count) const {
    const typename V::reg c = V::load(cap + r), per_c = V::load(inverse + r);
    const auto off = V::equal(c, V::zero());
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t) {
      return V::select(off, s, V::mul(c, tanh<V>(V::mul(s, per_c))));
    });
  }
  /// The same, with the cap's derivative 1 - tanh(s / c)^2 for each score.
  void apply(T* St, T* slopes, std::ptrdiff_t ld, std::int64_t r, std::int64_t count) const {
    const typename V::reg c = V::load(cap + r), per_c = V::load(inverse + r), one = V::set1(1);
    const auto off = V::equal(c, V::zero());
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t n) {
      const typename V::reg t = tanh<V>(V::mul(s, per_c));  // 0 where off
      V::store(slopes + n * ld, V::mul(V::sub(one, t), V::add(one, t)));
      return V::select(off, s, V::mul(c, t));
    });
  }
};

/// s - slope |p - j| (Press et al. 2022).
template <class V>
struct Alibi {
  using T = typename V::scalar;
  alignas(64) T slope[V::query_block];    ///< times -log2(e)
  alignas(64) T distance[V::panel_rows];  ///< p - first key of the tile

  void set_rows(const ScoreUnit& u, std::int64_t lanes) {
    for (std::int64_t r = 0; r < lanes; ++r) {
      slope[r] = static_cast<T>(-kLog2E * u.alibi[(u.first_row + r) % u.group]);
    }
  }
  void set_tile(const ScoreUnit& u, std::int64_t row, std::int64_t lanes, std::int64_t begin) {
    const std::int64_t first = u.offset - begin;
    for (std::int64_t r = 0; r < lanes; ++r) {
      distance[r] = static_cast<T>(query_of(u, u.first_row + row + r) + first);
    }
  }
  void apply(T* St, std::ptrdiff_t ld, std::int64_t panel_row, std::int64_t r, std::int64_t j,
             std::int64_t count) const {
    const typename V::reg m = V::load(slope + panel_row + r), one = V::set1(1);
    typename V::reg d = V::sub(V::load(distance + r), V::set1(static_cast<T>(j)));
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t) {
      const typename V::reg changed = V::fma(m, V::abs(d), s);
      d = V::sub(d, one);  // numbers of keys are exact
      return changed;
    });
  }
};

/// s + table[j - p], for one head (group = 1). The tile's part of the table is laid out so that a
/// vector of rows reads it in one load: query i + 1 at key j needs what query i needs at key j - 1.
template <class V>
struct RelativeBias {
  using T = typename V::scalar;
  T strip[V::panel_rows + V::key_tile];
  std::int64_t keys;

  void set_tile(const ScoreUnit& u, std::int64_t row, std::int64_t lanes, std::int64_t begin,
                std::int64_t count) {
    const auto* table = static_cast<const T*>(u.position_bias.table);
    const std::int64_t reach = u.position_bias.reach;
    const std::int64_t farthest = begin + count - 1 - (u.first_row + row + u.offset);
    keys = count;
    for (std::int64_t x = 0; x < lanes + count; ++x) {
      const std::int64_t distance = clamp(farthest - x, -reach, reach);
      strip[x] = table[distance + reach] * static_cast<T>(kLog2E);
    }
  }
  void apply(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t j, std::int64_t count) const {
    const T* bias = strip + (keys - 1 - j) + r;
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t n) {
      return V::add(s, V::load(bias - n));
    });
  }
};

/// s + table[yi - yj][xi - xj] on an image grid, for one head (group = 1).
template <class V>
struct GridBias {
  using T = typename V::scalar;
  /// Places in the table: that of (i, j) is row[i] - key[j].
  std::int32_t row_place[V::panel_rows], key_place[V::key_tile];
  const T* table;

  void set_tile(const ScoreUnit& u, std::int64_t row, std::int64_t rows, std::int64_t begin,
                std::int64_t count) {
    const PositionBias& bias = u.position_bias;
    table = static_cast<const T*>(bias.table);
    const std::int64_t step = 2 * bias.width - 1;
    const std::int64_t centre = (bias.height - 1) * step + bias.width - 1;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t i = u.first_row + row + r;
      row_place[r] = static_cast<std::int32_t>(i / bias.width * step + i % bias.width + centre);
    }
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t k = begin + j;
      key_place[j] = static_cast<std::int32_t>(k / bias.width * step + k % bias.width);
    }
    row_count = rows;
  }
  void apply(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t j, std::int64_t count) const {
    const std::int64_t lanes = row_count - r < V::lanes ? row_count - r : V::lanes;
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t n) {
      alignas(64) T bias[V::lanes] = {};
      for (std::int64_t i = 0; i < lanes; ++i) bias[i] = table[row_place[r + i] - key_place[j + n]];
      return V::fma(V::load(bias), V::set1(static_cast<T>(kLog2E)), s);
    });
  }

 private:
  std::int64_t row_count = 0;
};

/// Largest bias that is still finite in base 2.
template <class T>
constexpr T most_bias() {
  return sizeof(T) == 4 ? static_cast<T>(2e38) : static_cast<T>(1e308);
}

/// s + log2(e) * bias for any bias; -inf masks whatever the score is. Finite biases stay finite:
/// the lowest float is a common way to say "masked", and a row full of it still has weights.
template <class V>
inline typename V::reg add_any_bias(typename V::reg s, typename V::reg bias) {
  using T = typename V::scalar;
  constexpr T infinity = static_cast<T>(__builtin_inf());
  constexpr T most = most_bias<T>();
  const auto too_large = V::both(V::less(V::set1(most), bias), V::less(bias, V::set1(infinity)));
  const typename V::reg finite =
      V::max(V::set1(-most), V::select(too_large, V::set1(most), bias));  // bias where it is NaN
  const typename V::reg sum = V::fma(finite, V::set1(static_cast<T>(kLog2E)), s);
  const typename V::reg masked = V::set1(-infinity);
  return V::select(V::equal(bias, masked), masked, sum);
}

/// Adds the bias array, a few keys and rows at a time transposed.
template <class V>
struct ArrayBias {
  using T = typename V::scalar;
  static constexpr std::int64_t keys = 16;
  const char* at[V::panel_rows];  ///< of each row, for the tile's first key
  std::int64_t row_count;
  bool alike;  ///< all rows are one: broadcast along the queries
  Storage storage;
  alignas(64) T transposed[keys * V::lanes], wide[keys * V::lanes];

  void set_tile(const ScoreUnit& u, std::int64_t row, std::int64_t rows, std::int64_t begin) {
    alike = true;
    for (std::int64_t r = 0; r < rows; ++r) {
      at[r] = row_address(u.bias, u.group, u.first_row + row + r) + begin * u.bias.column_stride;
      alike &= at[r] == at[0];
    }
    row_count = rows;
    storage = u.bias_storage;
  }

  /// The bias of a tile is wanted as soon as its scores are computed, which is done in steps: step
  /// n of `steps` fetches some of the rows, one after the other. They go to L2: L1 is full, and
  /// rows a power of two apart would share a few of its sets.
  void prefetch(std::ptrdiff_t stride, std::int64_t keys_of_tile, std::int64_t n,
                std::int64_t steps) const {
    if (alike || n >= steps) return;  // the last few keys may take a step more than was foreseen
    const std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t r = row_count * n / steps; r < row_count * (n + 1) / steps; ++r) {
      for (std::int64_t j = 0; j < keys_of_tile; j += line) {
        __builtin_prefetch(at[r] + j * stride, 0, 2);
      }
      __builtin_prefetch(at[r] + (keys_of_tile - 1) * stride, 0, 2);
    }
  }

  void apply(T* St, std::ptrdiff_t ld, std::ptrdiff_t stride, std::int64_t r, std::int64_t j,
             std::int64_t count) {
    gather(stride, r, j, count);
    typename V::reg largest = V::zero();
    for (std::int64_t n = 0; n < count; ++n) {
      largest = V::max(V::abs(V::load(transposed + n * V::lanes)), largest);
    }
    if (V::any(V::less(V::set1(most_bias<T>()), largest))) {
      change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t n) {
        return add_any_bias<V>(s, V::load(transposed + n * V::lanes));
      });
      return;
    }
    const typename V::reg log2e = V::set1(static_cast<T>(kLog2E));
    change_scores<V>(St, ld, count, [&](typename V::reg s, std::int64_t n) {
      return V::fma(V::load(transposed + n * V::lanes), log2e, s);
    });
  }

  void mark_hidden(T* Pt, std::ptrdiff_t ld, std::ptrdiff_t stride, std::int64_t r, std::int64_t j,
                   std::int64_t count) {
    gather(stride, r, j, count);
    const typename V::reg hides = V::set1(minus_infinity<V>());
    change_scores<V>(Pt, ld, count, [&](typename V::reg p, std::int64_t n) {
      return V::select(V::equal(V::load(transposed + n * V::lanes), hides), V::set1(-T(0)), p);
    });
  }

 private:
  /// bias[key][lane] of `count` keys from the tile's j-th on.
  void gather(std::ptrdiff_t stride, std::int64_t r, std::int64_t j, std::int64_t count) {
    const std::int64_t left = row_count - r;
    const std::int64_t rows = alike ? 1 : left < V::lanes ? left : V::lanes;
    const char* from[V::lanes];
    for (std::int64_t i = 0; i < rows; ++i) from[i] = at[r + i] + j * stride;
    if (storage != Storage::compute) {
      const std::int64_t filled = (count + V::lanes - 1) / V::lanes * V::lanes;
      with_storage<V>(storage, [&]<class S>() {
        for (std::int64_t i = 0; i < rows; ++i) {
          widen_row<V, S>(from[i], stride, count, V::set1(1), wide + i * keys, filled);
          from[i] = reinterpret_cast<const char*>(wide + i * keys);
        }
      });
      stride = sizeof(T);
    }
    if (alike) {
      for (std::int64_t n = 0; n < count; ++n) {
        V::store(transposed + n * V::lanes, V::set1(read<T>(from[0] + n * stride)));
      }
      return;
    }
    transpose_rows<V>(from, rows, stride, count, V::set1(1), transposed, V::lanes);
  }
};

}  // namespace
}  // namespace regard::kernels
