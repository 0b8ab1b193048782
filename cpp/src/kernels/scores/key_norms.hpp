// Cosine similarity, the part that belongs to the keys: s / |k_j|. That of the queries is part of
// their scale (scale.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/scores/score_option.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/stored_rows.hpp"

namespace regard::kernels {
namespace {

template <class V>
struct KeyNorms : ScoreOption<V> {
  using T = typename V::scalar;
  static constexpr bool has_slope = true, has_key_factors = true;

  static bool is_on(const ScoreUnit& u) { return u.cosine; }

  template <class Key>
  void set_keys(const ScoreUnit& u, const Rows& keys, std::int64_t begin, std::int64_t count) {
    for (std::int64_t j = 0; j < count; ++j) {
      const char* row = keys.data + (begin + j) * keys.row_stride;
      inverse[j] = static_cast<T>(inverse_norm<Key>(row, keys.column_stride, u.head_dim));
    }
  }
  void set_tile(const ScoreUnit&, const TilePlace& at) { first_key = at.first_key; }
  void apply(const ScoreUnit&, const ScoreStep<T>& step) const {
    const T* norms = inverse + first_key + step.j;
    change_scores<V>(step.St, step.ld, step.count, [&](typename V::reg s, std::int64_t n) {
      return V::mul(s, V::set1(norms[n]));
    });
  }

  static void multiply_key_factors(const ScoreUnit& u, std::int64_t begin, std::int64_t end,
                                   T* factor, T* copy) {
    for (std::int64_t j = begin; j < end; ++j) {
      const Rows row = read_tile<V>(u.key, false, j, j + 1, u.head_dim, copy);
      factor[j - begin] *= static_cast<T>(
          inverse_norm<T>(row.data + j * row.row_stride, row.column_stride, u.head_dim));
    }
  }
  static void apply_row(const ScoreUnit&, const ScoreRow<T>&) {}  // factors were multiplied by

  Slope<T> slope() const { return {nullptr, inverse + first_key}; }

 private:
  T inverse[V::key_tile];
  std::int64_t first_key = 0;
};

}  // namespace
}  // namespace regard::kernels
