// A bias that depends on where query and key are: s + table[j - p] (T5, relative positions), or
// s + table[yi - yj][xi - xj] on an image grid. One head a unit (group = 1). The gradient of the
// table sums dS over the pairs that share a number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/scores/score_option.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

/// A grid's table by place: query i and key j meet at place(i) - place(j) + centre.
struct GridPlaces {
  std::int64_t width, step, centre;
  explicit GridPlaces(const PositionBias& bias)
      : width(bias.width), step(2 * width - 1), centre((bias.height - 1) * step + width - 1) {}
  std::int64_t of(std::int64_t pixel) const { return pixel / width * step + pixel % width; }
};

/// The gradient of the table.
template <class V>
struct TableGradient : NoGradient<V> {
  using T = typename V::scalar;

  TableGradient(const BackwardUnit& unit, ScratchMemory& memory)
      : NoGradient<V>(unit, memory),
        b(unit),
        table(memory.take<double>(unit.dtable ? unit.table_size : 0)) {
    for (std::int64_t n = 0; b.dtable && n < b.table_size; ++n) table[n] = 0;
  }
  static void count(ScratchMemory& memory, const BackwardSizes& sizes) {
    memory.take<double>(sizes.table_size);
  }
  static bool is_wanted(const BackwardUnit& unit) { return unit.dtable != nullptr; }

  void add(const Panel<T>& panel, const Keys<T>& keys, std::int64_t, const T* dSt) {
    b.scores.position_bias.width > 0 ? add_grid(panel, keys, dSt) : add_relative(panel, keys, dSt);
  }
  void finish() {
    for (std::int64_t n = 0; n < b.table_size; ++n) b.dtable[n] += table[n];
  }

 private:
  const BackwardUnit& b;
  double* table;
  T strip[V::panel_rows + V::key_tile];

  /// All pairs of key j and row r with the same j - r share a number, of strip[count - 1 - j + r].
  void add_relative(const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    const std::int64_t count = keys.count;
    for (std::int64_t x = 0; x < panel.ld + count; ++x) strip[x] = 0;
    // Keys `lanes` apart meet the same vectors of the strip; neighbours' overlap, and a load that
    // overlaps two recent stores waits for both.
    for (std::int64_t phase = 0; phase < V::lanes; ++phase) {
      for (std::int64_t j = phase; j < count; j += V::lanes) {
        T* at = strip + (count - 1 - j);
        std::int64_t r = 0;
        for (; r + V::lanes <= panel.rows; r += V::lanes) {
          V::store(at + r, V::add(V::load(at + r), V::load(dSt + j * panel.ld + r)));
        }
        for (; r < panel.rows; ++r) at[r] += dSt[j * panel.ld + r];
      }
    }
    const std::int64_t reach = b.scores.position_bias.reach;
    const std::int64_t farthest =
        keys.begin + count - 1 - (b.scores.first_row + panel.row + b.scores.offset);
    for (std::int64_t x = 0; x < panel.rows + count - 1; ++x) {
      table[clamp(farthest - x, -reach, reach) + reach] += static_cast<double>(strip[x]);
    }
  }

  void add_grid(const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    const GridPlaces places(b.scores.position_bias);
    for (std::int64_t j = 0; j < keys.count; ++j) {
      const std::int64_t key_place = places.of(keys.begin + j) - places.centre;
      const std::int64_t i = b.scores.first_row + panel.row;
      std::int64_t x = i % places.width, row_place = places.of(i);
      for (std::int64_t r = 0; r < panel.rows; ++r, ++row_place) {
        table[row_place - key_place] += static_cast<double>(dSt[j * panel.ld + r]);
        if (++x == places.width) x = 0, row_place += places.step - places.width;
      }
    }
  }
};

/// The tile's part of the table is laid out so that a vector of rows reads it in one load: query
/// i + 1 at key j needs what query i needs at key j - 1.
template <class V>
struct RelativeBias : ScoreOption<V> {
  using T = typename V::scalar;
  using Gradient = TableGradient<V>;

  static bool is_on(const ScoreUnit& u) {
    return u.position_bias.table != nullptr && u.position_bias.width == 0;
  }

  /// The bias at a distance j - p, in base 2.
  static T bias_at(const PositionBias& bias, std::int64_t distance) {
    const std::int64_t at = clamp(distance, -bias.reach, bias.reach) + bias.reach;
    return static_cast<const T*>(bias.table)[at] * static_cast<T>(kLog2E);
  }

  void set_tile(const ScoreUnit& u, const TilePlace& at) {
    const std::int64_t farthest = at.begin + at.count - 1 - (u.first_row + at.row + u.offset);
    keys = at.count;
    for (std::int64_t x = 0; x < at.lanes + at.count; ++x) {
      strip[x] = bias_at(u.position_bias, farthest - x);
    }
  }
  void apply(const ScoreUnit&, const ScoreStep<T>& step) const {
    const T* bias = strip + (keys - 1 - step.j) + step.r;
    change_scores<V>(step.St, step.ld, step.count, [&](typename V::reg s, std::int64_t n) {
      return V::add(s, V::load(bias - n));
    });
  }

  static void apply_row(const ScoreUnit& u, const ScoreRow<T>& row) {
    const std::int64_t p = query_of(u, row.row) + u.offset;
    for (std::int64_t j = row.from; j < row.to; ++j) {
      row.s[j] += bias_at(u.position_bias, row.begin + j - p);
    }
  }

 private:
  T strip[V::panel_rows + V::key_tile];
  std::int64_t keys;
};

template <class V>
struct GridBias : ScoreOption<V> {
  using T = typename V::scalar;  // the table's gradient is RelativeBias's

  static bool is_on(const ScoreUnit& u) {
    return u.position_bias.table != nullptr && u.position_bias.width > 0;
  }

  void set_tile(const ScoreUnit& u, const TilePlace& at) {
    const GridPlaces places(u.position_bias);
    table = static_cast<const T*>(u.position_bias.table);
    for (std::int64_t r = 0; r < at.rows; ++r) {
      row_place[r] = static_cast<std::int32_t>(places.of(u.first_row + at.row + r) + places.centre);
    }
    for (std::int64_t j = 0; j < at.count; ++j) {
      key_place[j] = static_cast<std::int32_t>(places.of(at.begin + j));
    }
    row_count = at.rows;
  }
  void apply(const ScoreUnit&, const ScoreStep<T>& step) const {
    const std::int64_t r = step.r, left = row_count - r;
    const std::int64_t lanes = left < V::lanes ? left : V::lanes;
    change_scores<V>(step.St, step.ld, step.count, [&](typename V::reg s, std::int64_t n) {
      alignas(64) T bias[V::lanes] = {};
      for (std::int64_t i = 0; i < lanes; ++i) {
        bias[i] = table[row_place[r + i] - key_place[step.j + n]];
      }
      return V::fma(V::load(bias), V::set1(static_cast<T>(kLog2E)), s);
    });
  }

  static void apply_row(const ScoreUnit& u, const ScoreRow<T>& row) {
    const GridPlaces places(u.position_bias);
    const auto* bias = static_cast<const T*>(u.position_bias.table);
    const std::int64_t place = places.of(query_of(u, row.row)) + places.centre;
    for (std::int64_t j = row.from; j < row.to; ++j) {
      row.s[j] += bias[place - places.of(row.begin + j)] * static_cast<T>(kLog2E);
    }
  }

 private:
  /// Places in the table: that of (i, j) is row[i] - key[j].
  std::int32_t row_place[V::panel_rows], key_place[V::key_tile];
  const T* table;
  std::int64_t row_count = 0;
};

}  // namespace
}  // namespace regard::kernels
