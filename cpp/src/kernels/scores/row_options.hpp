// The options of a row of scores, keys in the lanes, as decode has them; and what options say of
// one row or key, which all kernels ask.
#pragma once

#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/order.hpp"

namespace regard::kernels {
namespace {

/// The same options for a row of scores, keys in the lanes.
template <class V>
struct RowOptions {
  using T = typename V::scalar;

  static void apply(const ScoreUnit& u, const ScoreRow<T>& row) {
    for_each_on(u, [&]<class O>() {
      if constexpr (O::changes_scores && !O::by_tile) O::apply_row(u, row);
    });
  }

  /// Whether an option wants the scores of all rows at once.
  static bool by_tile(const ScoreUnit& u) {
    bool some = false;
    for_each_on(u, [&]<class O>() { some |= O::by_tile; });
    return some;
  }

  /// `apply` for `count` rows whose scores are `step` numbers apart, one option after the other.
  REGARD_SMALL static void apply_by_tile(const ScoreUnit& u, const ScoreRow<T>& first,
                                         std::int64_t count, std::int64_t step) {
    for_each_on(u, [&]<class O>() {
      if constexpr (O::by_tile) {
        O::apply_chunk(u, first, count, step);
      } else if constexpr (O::changes_scores) {
        ScoreRow<T> row = first;
        for (std::int64_t r = 0; r < count; ++r, ++row.row, row.s += step) O::apply_row(u, row);
      }
    });
  }

  /// Whether an option is a factor of the queries, and what a row of the kv head is multiplied by.
  static bool scales_queries(const ScoreUnit& u) {
    bool scales = false;
    for_each_on(u, [&]<class O>() { scales |= O::scales_queries; });
    return scales;
  }
  static double query_factor(const ScoreUnit& u, std::int64_t row) {
    double factor = 1;
    for_each_on(u, [&]<class O>() { factor *= O::query_factor(u, row); });
    return factor;
  }

  /// factor[j - begin] times what options multiply the scores of a key by; `copy` has room for it.
  static void multiply_key_factors(const ScoreUnit& u, std::int64_t begin, std::int64_t end,
                                   T* factor, T* copy) {
    for_each_on(u, [&]<class O>() { O::multiply_key_factors(u, begin, end, factor, copy); });
  }

  /// Whether there are such factors.
  static bool has_key_factors(const ScoreUnit& u) {
    bool has = false;
    for_each_on(u, [&]<class O>() { has |= O::has_key_factors; });
    return has;
  }

  /// Whether an option can hide keys.
  static bool can_hide(const ScoreUnit& u) {
    bool can = false;
    for_each_on(u, [&]<class O>() { can |= O::hides_keys; });
    return can;
  }

  /// Whether one hides key j from a row.
  static bool hides(const ScoreUnit& u, std::int64_t row, std::int64_t j) {
    bool hidden = false;
    for_each_on(u, [&]<class O>() {
      if constexpr (O::hides_keys) hidden |= O::hides(u, row, j);
    });
    return hidden;
  }

 private:
  template <class Body>
  static void for_each_on(const ScoreUnit& u, const Body& body) {
    OptionsInOrder<V>::for_each_type([&]<class O>() {
      if (O::is_on(u)) body.template operator()<O>();
    });
  }
};

}  // namespace
}  // namespace regard::kernels
