// How elements lie in memory: the compute type itself, or a smaller one that is widened when it is
// read and rounded once, to nearest even, when it is written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/elements.hpp"
#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

/// Calls body.template operator()<S>() with the element type. Smaller types are those of float.
template <class V, class Body>
inline decltype(auto) with_storage(Storage storage, const Body& body) {
  using T = typename V::scalar;
  if constexpr (sizeof(T) == sizeof(float)) {
    if (storage == Storage::bfloat16) return body.template operator()<Bfloat16>();
    if (storage == Storage::float16) return body.template operator()<Float16>();
    if (storage == Storage::int8) return body.template operator()<std::int8_t>();
  }
  return body.template operator()<T>();
}

/// `count` elements at p, fewer than a vector, then zeros.
template <class V, class S>
inline typename V::reg load_first(const S* p, std::int64_t count) {
  S elements[V::lanes] = {};
  __builtin_memcpy(elements, p, static_cast<std::size_t>(count) * sizeof(S));
  return V::load(elements);
}

/// The next vector of a row of `columns` elements, from column c on; zeros past its end.
template <class V, class S>
inline typename V::reg load_columns(const S* row, std::int64_t c, std::int64_t columns) {
  return c + V::lanes <= columns ? V::load(row + c) : load_first<V>(row + c, columns - c);
}

/// to[0 .. ld) = factor * the `columns` elements of a row, then zeros; ld is a multiple of the
/// lanes.
template <class V, class S>
inline void widen_row(const char* from, std::ptrdiff_t column_stride, std::int64_t columns,
                      typename V::reg factor, typename V::scalar* to, std::int64_t ld) {
  const auto* row = reinterpret_cast<const S*>(from);
  const bool dense = column_stride == static_cast<std::ptrdiff_t>(sizeof(S));
  for (std::int64_t c = 0; c < ld; c += V::lanes) {
    if (dense) {
      V::store(to + c, V::mul(load_columns<V>(row, c, columns), factor));
      continue;
    }
    S elements[V::lanes] = {};
    for (std::int64_t i = 0; i < V::lanes && c + i < columns; ++i) {
      __builtin_memcpy(elements + i, from + (c + i) * column_stride, sizeof(S));
    }
    V::store(to + c, V::mul(V::load(elements), factor));
  }
}

/// to[c] = factor * x[c] rounded to S, for `count` elements at any stride.
template <class V, class S>
inline void narrow_row(const typename V::scalar* x, typename V::reg factor, std::int64_t count,
                       char* to, std::ptrdiff_t stride) {
  std::int64_t c = 0;
  if (stride == static_cast<std::ptrdiff_t>(sizeof(S))) {
    auto* row = reinterpret_cast<S*>(to);
    for (; c + V::lanes <= count; c += V::lanes) {
      V::store(row + c, V::mul(V::load(x + c), factor));
    }
  }
  for (; c < count; c += V::lanes) {
    S elements[V::lanes];
    V::store(elements, V::mul(load_columns<V>(x, c, count), factor));
    for (std::int64_t i = 0; i < V::lanes && c + i < count; ++i) {
      __builtin_memcpy(to + (c + i) * stride, elements + i, sizeof(S));
    }
  }
}

}  // namespace
}  // namespace regard::kernels
