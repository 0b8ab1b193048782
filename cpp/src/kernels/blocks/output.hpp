// The end of a block: out = O / l and lse = ln 2 (m + log2 l), written to wherever they belong.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/row_options.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/softmax/online_softmax.hpp"
#include "kernels/tiles/mask.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/reach.hpp"
#include "kernels/tiles/storage.hpp"

namespace regard::kernels {
namespace {

/// True if the row can see a key at all. Only asked when every weight of the row came out 0, which
/// scores of -inf can do as well.
template <class V>
inline bool sees_a_key(const ScoreUnit& u, std::int64_t row) {
  const KeyRange keys = reachable(u, row);
  for (std::int64_t j = keys.begin; j < keys.end; ++j) {
    if (mask_allows(u, row, j) && !RowOptions<V>::hides(u, row, j)) return true;
  }
  return false;
}

/// Whether neither NaN nor Inf is among `count` numbers (a multiple of the lanes): 0 * x is NaN for
/// both.
template <class V>
inline bool all_finite(const typename V::scalar* x, std::int64_t count) {
  typename V::reg sum = V::zero();
  for (std::int64_t i = 0; i < count; i += V::lanes) {
    sum = V::fma(V::load(x + i), V::zero(), sum);
  }
  typename V::scalar lanes[V::lanes];
  V::store(lanes, sum);
  bool finite = true;
  for (const auto lane : lanes) finite &= lane == 0;
  return finite;
}

/// What a row comes to: its weights are factor * 2^(s - m).
template <class V, class T = typename V::scalar>
inline RowSum<T> finish_row(const ScoreUnit& u, std::int64_t row, T m, T l) {
  RowSum<T> z = close_row<T>(u, row, m, l);
  if (z.sum == 0) {
    // No key weighed anything: 0 if the masks say so, NaN if the scores were all -inf.
    z.factor = sees_a_key<V>(u, row) ? static_cast<T>(__builtin_nan("")) : T(0);
  }
  return z;
}

template <class T>
inline T log_sum_exp(const RowSum<T>& z) {
  if (z.sum == 0) return z.factor == 0 ? -static_cast<T>(__builtin_inf()) : z.factor;
  return static_cast<T>(kLn2 * static_cast<double>(z.reference) +
                        __builtin_log(static_cast<double>(z.sum)));
}

/// The LSE is of l. O is divided by `weight_sums`: those of the weights that it is made of, if they
/// were rounded.
template <class V>
void write_output(const ForwardUnit& unit, const typename V::scalar* O, std::int64_t columns,
                  const typename V::scalar* m, const typename V::scalar* l,
                  const typename V::scalar* weight_sums) {
  using T = typename V::scalar;
  const ScoreUnit& u = unit.scores;
  for (std::int64_t r = 0; r < u.row_count; ++r) {
    const std::int64_t row = u.first_row + r;
    const RowSum<T> z = finish_row<V>(u, row, m[r], l[r]);
    T factor = weight_sums == l ? z.factor : finish_row<V>(u, row, m[r], weight_sums[r]).factor;
    if (unit.dropout.threshold > 0) {
      factor = static_cast<T>(static_cast<double>(factor) * unit.dropout.keep_factor);
    }
    with_storage<V>(unit.out_storage, [&]<class S>() {
      narrow_row<V, S>(O + r * columns, V::set1(factor), unit.value_dim,
                       row_address(unit.out, u.group, row), unit.out.column_stride);
    });
    if (unit.lse.data) write_scalar(log_sum_exp(z), row_address(unit.lse, u.group, row));
  }
}

}  // namespace
}  // namespace regard::kernels
