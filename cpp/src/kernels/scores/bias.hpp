// A bias array: s + bias[i][j]; -inf hides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/scores/bias_gradient.hpp"
#include "kernels/scores/score_option.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/gemm.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/storage.hpp"

namespace regard::kernels {
namespace {

/// Whether an element of a bias is -inf.
template <class T>
inline bool is_minus_infinity(Storage storage, const char* at) {
  if (storage == Storage::bfloat16) return read<std::uint16_t>(at) == 0xFF80;
  if (storage == Storage::float16) return read<std::uint16_t>(at) == 0xFC00;
  return read<T>(at) == -static_cast<T>(__builtin_inf());
}

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
struct ArrayBias : ScoreOption<V> {
  using T = typename V::scalar;
  using reg = typename V::reg;
  using Gradient = ArrayBiasGradient<V>;
  static constexpr bool hides_keys = true;

  static bool is_on(const ScoreUnit& u) { return u.bias.data != nullptr; }

  void set_tile(const ScoreUnit& u, const TilePlace& place) {
    stride = u.bias.column_stride;
    alike = true;
    for (std::int64_t r = 0; r < place.rows; ++r) {
      at[r] = row_address(u.bias, u.group, u.first_row + place.row + r) + place.begin * stride;
      alike &= at[r] == at[0];
    }
    row_count = place.rows;
    storage = u.bias_storage;
  }

  /// The bias of a tile is wanted as soon as its scores are computed, which is done in steps: step
  /// n of `steps` fetches some of the rows, one after the other. They go to L2: L1 is full, and
  /// rows a power of two apart would share a few of its sets.
  void prefetch(const ScoreUnit&, std::int64_t keys_of_tile, std::int64_t n,
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

  void apply(const ScoreUnit&, const ScoreStep<T>& step) {
    gather(step.r, step.j, step.count);
    reg largest = V::zero();
    for (std::int64_t n = 0; n < step.count; ++n) {
      largest = V::max(V::abs(V::load(transposed + n * V::lanes)), largest);
    }
    if (V::any(V::less(V::set1(most_bias<T>()), largest))) {
      change_scores<V>(step.St, step.ld, step.count, [&](reg s, std::int64_t n) {
        return add_any_bias<V>(s, V::load(transposed + n * V::lanes));
      });
      return;
    }
    const reg log2e = V::set1(static_cast<T>(kLog2E));
    change_scores<V>(step.St, step.ld, step.count, [&](reg s, std::int64_t n) {
      return V::fma(V::load(transposed + n * V::lanes), log2e, s);
    });
  }

  /// Makes the weights at St of what the bias hides -0.
  void mark_hidden(const ScoreStep<T>& step) {
    gather(step.r, step.j, step.count);
    const reg hides = V::set1(minus_infinity<V>());
    change_scores<V>(step.St, step.ld, step.count, [&](reg p, std::int64_t n) {
      return V::select(V::equal(V::load(transposed + n * V::lanes), hides), V::set1(-T(0)), p);
    });
  }

  static bool hides(const ScoreUnit& u, std::int64_t row, std::int64_t j) {
    const char* at = row_address(u.bias, u.group, row) + j * u.bias.column_stride;
    return is_minus_infinity<T>(u.bias_storage, at);
  }

  static void apply_row(const ScoreUnit& u, const ScoreRow<T>& row) {
    alignas(64) T values[kDecodeChunk], bias[kDecodeChunk];
    const std::int64_t count = row.to - row.from;
    const char* from =
        row_address(u.bias, u.group, row.row) + (row.begin + row.from) * u.bias.column_stride;
    with_storage<V>(u.bias_storage, [&]<class E>() {
      widen_row<V, E>(from, u.bias.column_stride, count, V::set1(1), values,
                      round_up(count, V::lanes));
    });
    for (std::int64_t j = row.low; j < row.high; ++j) bias[j] = 0;
    for (std::int64_t j = row.from; j < row.to; ++j) bias[j] = values[j - row.from];
    change_row<V>(row,
                  [&](reg s, std::int64_t j) { return add_any_bias<V>(s, V::load(bias + j)); });
  }

 private:
  static constexpr std::int64_t keys = kScoreStep;
  const char* at[V::panel_rows];  ///< of each row, for the place's first key
  std::ptrdiff_t stride;
  std::int64_t row_count;
  bool alike;  ///< all rows are one: broadcast along the queries
  Storage storage;
  alignas(64) T transposed[keys * V::lanes], wide[keys * V::lanes];

  /// bias[key][lane] of `count` keys from the tile's j-th on.
  void gather(std::int64_t r, std::int64_t j, std::int64_t count) {
    const std::int64_t left = row_count - r;
    const std::int64_t rows = alike ? 1 : left < V::lanes ? left : V::lanes;
    std::ptrdiff_t step = stride;
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
      step = sizeof(T);
    }
    if (alike) {
      for (std::int64_t n = 0; n < count; ++n) {
        V::store(transposed + n * V::lanes, V::set1(read<T>(from[0] + n * step)));
      }
      return;
    }
    transpose_rows<V>(from, rows, step, count, V::set1(1), transposed, V::lanes);
  }
};

}  // namespace
}  // namespace regard::kernels
