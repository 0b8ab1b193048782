// The end of a block: out = O / l and lse = ln 2 (m + log2 l), written to wherever they belong.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_api.hpp"
#include "pack.hpp"
#include "score.hpp"

namespace regard::kernels {
namespace {

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

/// to[c] = factor * O[c] for `count` elements at any stride.
template <class V>
inline void write_row(const typename V::scalar* O, typename V::scalar factor, std::int64_t count,
                      char* to, std::ptrdiff_t stride) {
  using T = typename V::scalar;
  std::int64_t c = 0;
  if (stride == static_cast<std::ptrdiff_t>(sizeof(T))) {
    for (; c + V::lanes <= count; c += V::lanes) {
      V::store(reinterpret_cast<T*>(to) + c, V::mul(V::load(O + c), V::set1(factor)));
    }
  }
  for (; c < count; ++c) {
    const T x = O[c] * factor;
    __builtin_memcpy(to + c * stride, &x, sizeof x);
  }
}

template <class T>
inline void write_lse(T reference, T sum, bool nothing_seen, char* to) {
  double lse = kLn2 * static_cast<double>(reference) + __builtin_log(static_cast<double>(sum));
  if (sum == 0) lse = nothing_seen ? -__builtin_inf() : __builtin_nan("");
  const T rounded = static_cast<T>(lse);
  __builtin_memcpy(to, &rounded, sizeof rounded);
}

template <class V>
void write_output(const ForwardUnit& u, const typename V::scalar* O, std::int64_t columns,
                  const typename V::scalar* m, const typename V::scalar* l) {
  using T = typename V::scalar;
  for (std::int64_t r = 0; r < u.row_count; ++r) {
    const std::int64_t row = u.first_row + r;
    T factor = 1 / l[r];
    bool nothing_seen = false;
    if (l[r] == 0) {
      // No key weighed anything: 0 if the masks say so, NaN if the scores were all -inf.
      nothing_seen = !sees_a_key<T>(u, row);
      factor = nothing_seen ? T(0) : static_cast<T>(__builtin_nan(""));
    }
    write_row<V>(O + r * columns, factor, u.value_dim, row_address(u.out, u.group, row),
                 u.out.column_stride);
    if (u.lse.data) write_lse<T>(m[r], l[r], nothing_seen, row_address(u.lse, u.group, row));
  }
}

}  // namespace
}  // namespace regard::kernels
