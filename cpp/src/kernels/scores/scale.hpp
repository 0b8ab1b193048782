// What the queries of a block are multiplied by before the product: their scale and, for cosines,
// one over their length.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/row_options.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/pack.hpp"

namespace regard::kernels {
namespace {

/// Where the first elements of rows [row, row + count) of the block lie.
inline void query_rows(const ScoreUnit& u, std::int64_t row, std::int64_t count,
                       const char** rows) {
  for (std::int64_t i = 0; i < count; ++i) {
    rows[i] = row_address(u.query, u.group, u.first_row + row + i);
  }
}

/// What the scores of a row of the kv head are multiplied by before any option changes them.
template <class V>
inline double row_scale(const ScoreUnit& u, std::int64_t row) {
  const std::int64_t head = u.group == 1 ? 0 : row % u.group;
  return u.scale[head * u.scale_step] * RowOptions<V>::query_factor(u, row);
}

/// `unit` times what a query, of elements of type S, is multiplied by: its scale and, for cosines,
/// one over its length.
template <class V, class S>
inline double query_factor(const ScoreUnit& u, std::int64_t row, double unit, const void* query,
                           std::ptrdiff_t stride) {
  const double scale = row_scale<V>(u, row) * unit;
  if (!u.cosine) return scale;
  return scale * inverse_norm<S>(static_cast<const char*>(query), stride, u.head_dim);
}

/// x -= (x . unit) unit, the unit vector being that of `along`: lengths do not change a cosine.
/// Returns 1 / |along|.
template <class T>
inline double remove_component(T* x, const T* along, std::int64_t count) {
  const double inverse = inverse_norm<T>(reinterpret_cast<const char*>(along), sizeof(T), count);
  double dot = 0;
  for (std::int64_t c = 0; c < count; ++c) {
    dot += static_cast<double>(x[c]) * static_cast<double>(along[c]);
  }
  dot *= inverse * inverse;
  for (std::int64_t c = 0; c < count; ++c) {
    x[c] = static_cast<T>(static_cast<double>(x[c]) - dot * static_cast<double>(along[c]));
  }
  return inverse;
}

/// What the queries of these rows, elements of type S, are multiplied by.
template <class V, class S>
inline typename V::reg query_factors(const ScoreUnit& u, std::int64_t row, std::int64_t count,
                                     const char* const* rows, std::ptrdiff_t stride) {
  using T = typename V::scalar;
  if (u.scale_step == 0 && !u.cosine && !RowOptions<V>::scales_queries(u))
    return V::set1(static_cast<T>(u.scale[0] * kLog2E));
  alignas(64) T factor[V::lanes] = {};
  for (std::int64_t i = 0; i < count; ++i) {
    factor[i] =
        static_cast<T>(query_factor<V, S>(u, u.first_row + row + i, kLog2E, rows[i], stride));
  }
  return V::load(factor);
}

}  // namespace
}  // namespace regard::kernels
