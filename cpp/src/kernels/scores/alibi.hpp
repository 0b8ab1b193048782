// ALiBi: s - slope |p - j| (Press et al. 2022), and the gradient of the slopes, -sum dS |p - j|.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/scores/score_option.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

/// One sum a row until the end.
template <class V>
struct AlibiGradient : NoGradient<V> {
  using T = typename V::scalar;

  AlibiGradient(const BackwardUnit& unit, ScratchMemory& memory)
      : NoGradient<V>(unit, memory), b(unit) {
    for (double& sum : sums) sum = 0;
  }
  static constexpr bool before_score_mod = true;
  static bool is_wanted(const BackwardUnit& unit) { return unit.dalibi != nullptr; }

  void add(const Panel<T>& panel, const Keys<T>& keys, std::int64_t, const T* dSt) {
    const ScoreUnit& u = b.scores;
    const std::int64_t first = u.offset - keys.begin;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      alignas(64) T lanes[V::lanes];
      for (std::int64_t i = 0; i < V::lanes; ++i) {
        lanes[i] = static_cast<T>(query_of(u, u.first_row + panel.row + r + i) + first);
      }
      typename V::reg distance = V::load(lanes), sum = V::zero();
      for (std::int64_t j = 0; j < keys.count; ++j) {
        sum = V::fma(V::load(dSt + j * panel.ld + r), V::abs(distance), sum);
        distance = V::sub(distance, V::set1(1));  // numbers of keys are exact
      }
      V::store(lanes, sum);
      for (std::int64_t i = 0; i < V::lanes && r + i < panel.rows; ++i) {
        sums[panel.row + r + i] += static_cast<double>(lanes[i]);
      }
    }
  }
  /// One number a head of the group, which no other unit writes.
  void finish() {
    const ScoreUnit& u = b.scores;
    for (std::int64_t head = 0; head < u.group; ++head) b.dalibi[head] = 0;
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      b.dalibi[(u.first_row + r) % u.group] -= sums[r];
    }
  }

 private:
  const BackwardUnit& b;
  double sums[V::query_block];
};

template <class V>
struct Alibi : ScoreOption<V> {
  using T = typename V::scalar;
  using reg = typename V::reg;
  using Gradient = AlibiGradient<V>;

  static bool is_on(const ScoreUnit& u) { return u.alibi != nullptr; }
  static T slope_of(double slope) { return static_cast<T>(-kLog2E * slope); }
  static reg change(reg s, reg slope, reg distance) { return V::fma(slope, V::abs(distance), s); }

  void set_rows(const ScoreUnit& u, std::int64_t lanes) {
    for (std::int64_t r = 0; r < lanes; ++r) {
      slope[r] = slope_of(u.alibi[(u.first_row + r) % u.group]);
    }
  }
  void set_tile(const ScoreUnit& u, const TilePlace& at) {
    panel_row = at.row;
    const std::int64_t first = u.offset - at.begin;
    for (std::int64_t r = 0; r < at.lanes; ++r) {
      distance[r] = static_cast<T>(query_of(u, u.first_row + at.row + r) + first);
    }
  }
  void apply(const ScoreUnit&, const ScoreStep<T>& step) const {
    const reg m = V::load(slope + panel_row + step.r), one = V::set1(1);
    reg d = V::sub(V::load(distance + step.r), V::set1(static_cast<T>(step.j)));
    change_scores<V>(step.St, step.ld, step.count, [&](reg s, std::int64_t) {
      const reg changed = change(s, m, d);
      d = V::sub(d, one);  // numbers of keys are exact
      return changed;
    });
  }

  static void apply_row(const ScoreUnit& u, const ScoreRow<T>& row) {
    const std::int64_t p = query_of(u, row.row) + u.offset;
    const reg m = V::set1(slope_of(u.alibi[row.row % u.group]));
    T numbers[V::lanes];
    for (int i = 0; i < V::lanes; ++i) numbers[i] = static_cast<T>(i);
    const reg iota = V::load(numbers);
    change_row<V>(row, [&](reg s, std::int64_t j) {
      return change(s, m, V::sub(V::set1(static_cast<T>(p - row.begin - j)), iota));
    });
  }

 private:
  alignas(64) T slope[V::query_block];    ///< times -log2(e)
  alignas(64) T distance[V::panel_rows];  ///< p - first key of the tile
  std::int64_t panel_row = 0;
};

}  // namespace
}  // namespace regard::kernels
