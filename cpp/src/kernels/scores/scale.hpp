// What the queries of a block are multiplied by before the product: their scale and, for cosines,
// one over their length.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/order.hpp"
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

/// What the queries of these rows, elements of type S, are multiplied by.
template <class V, class S>
inline typename V::reg query_factors(const ScoreUnit& u, std::int64_t row, std::int64_t count,
                                     const char* const* rows, std::ptrdiff_t stride) {
  using T = typename V::scalar;
  if (u.scale_step == 0 && !u.cosine && !RowOptions<V>::scales_queries(u))
    return V::set1(static_cast<T>(u.scale[0] * kLog2E));
  alignas(64) T factor[V::lanes] = {};
  for (std::int64_t i = 0; i < count; ++i) {
    double scale = row_scale<V>(u, u.first_row + row + i) * kLog2E;
    if (u.cosine) scale *= inverse_norm<S>(rows[i], stride, u.head_dim);
    factor[i] = static_cast<T>(scale);
  }
  return V::load(factor);
}

}  // namespace
}  // namespace regard::kernels
