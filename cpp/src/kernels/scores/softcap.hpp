// Softcap: c tanh(s / c) (Gemma 2), its slope 1 - tanh(s / c)^2.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/scores/score_option.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/tanh.hpp"

namespace regard::kernels {
namespace {

template <class V>
struct Softcap : ScoreOption<V> {
  using T = typename V::scalar;
  using reg = typename V::reg;
  static constexpr bool has_slope = true, keeps_slopes = true;

  static bool is_on(const ScoreUnit& u) { return u.softcap != nullptr; }

  /// c and 1 / c in base 2; 0 and 0 where it is off for the head.
  static void cap_of(double softcap, T& cap, T& per_cap) {
    const double c = softcap * kLog2E;
    cap = static_cast<T>(c);
    per_cap = static_cast<T>(c > 0 ? 1 / c : 0);
  }

  void set_rows(const ScoreUnit& u, std::int64_t lanes) {
    for (std::int64_t r = 0; r < lanes; ++r) {
      cap_of(u.softcap[(u.first_row + r) % u.group], cap[r], inverse[r]);
    }
  }
  void set_tile(const ScoreUnit&, const TilePlace& at) { panel_row = at.row; }
  void apply(const ScoreUnit&, const ScoreStep<T>& step) const {
    const std::int64_t row = panel_row + step.r;
    const reg c = V::load(cap + row), per_c = V::load(inverse + row);
    const auto off = V::equal(c, V::zero());
    if (slopes == nullptr) {
      change_scores<V>(step.St, step.ld, step.count, [&](reg s, std::int64_t) {
        return V::select(off, s, V::mul(c, tanh<V>(V::mul(s, per_c))));
      });
      return;
    }
    T* to = slopes + (step.St - scores);
    const reg one = V::set1(1);
    change_scores<V>(step.St, step.ld, step.count, [&](reg s, std::int64_t n) {
      const reg t = tanh<V>(V::mul(s, per_c));  // 0 where off
      V::store(to + n * step.ld, V::mul(V::sub(one, t), V::add(one, t)));
      return V::select(off, s, V::mul(c, t));
    });
  }

  static void apply_row(const ScoreUnit& u, const ScoreRow<T>& row) {
    T c, per_c;
    cap_of(u.softcap[row.row % u.group], c, per_c);
    if (c == 0) return;
    const reg cap = V::set1(c), per_cap = V::set1(per_c);
    change_row<V>(row,
                  [&](reg s, std::int64_t) { return V::mul(cap, tanh<V>(V::mul(s, per_cap))); });
  }

  /// `apply` shall also write the slopes, laid out as the scores at St.
  void keep_slopes(const T* St, T* to) {
    scores = St;
    slopes = to;
  }
  Slope<T> slope() const { return {slopes, nullptr}; }

 private:
  alignas(64) T cap[V::query_block], inverse[V::query_block];
  std::int64_t panel_row = 0;
  const T* scores = nullptr;
  T* slopes = nullptr;
};

}  // namespace
}  // namespace regard::kernels
