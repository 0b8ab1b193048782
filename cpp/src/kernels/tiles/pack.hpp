// Copies that put a tile where the products can read it: queries transposed and scaled; keys and
// values only when their memory cannot be read in place. Strides are bytes of any sign; an element
// may lie at any address.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/half.hpp"
#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

template <class T>
inline T read(const char* p) {
  T x;
  __builtin_memcpy(&x, p, sizeof x);  // no alignment is promised
  return x;
}

template <class T>
inline void write_scalar(T x, char* to) {
  __builtin_memcpy(to, &x, sizeof x);
}

template <class T>
inline void add_scalar(T x, char* to) {
  T sum;
  __builtin_memcpy(&sum, to, sizeof sum);
  sum += x;
  __builtin_memcpy(to, &sum, sizeof sum);
}

/// Row r of a kv head: query r / group of head r % group.
inline char* row_address(const Rows& rows, std::int64_t group, std::int64_t row) {
  if (group == 1) return rows.data + row * rows.row_stride;  // divisions show in short sequences
  return rows.data + (row / group) * rows.row_stride + (row % group) * rows.head_stride;
}

template <class T>
inline bool contiguous_columns(const Rows& rows) {
  return rows.column_stride == static_cast<std::ptrdiff_t>(sizeof(T));
}

/// to[c][r] = factor[r] * rows[r][c] for one vector of rows and `columns` columns; rows from
/// `row_count` on are 0. `addresses` holds the first element of each row.
template <class V>
inline void transpose_rows(const char* const* addresses, std::int64_t row_count,
                           std::ptrdiff_t column_stride, std::int64_t columns,
                           typename V::reg factor, typename V::scalar* to, std::ptrdiff_t ld) {
  using T = typename V::scalar;
  std::int64_t c = 0;
  if (column_stride == static_cast<std::ptrdiff_t>(sizeof(T))) {
    for (; c + V::lanes <= columns; c += V::lanes) {
      typename V::reg block[V::lanes];
      REGARD_UNROLL
      for (int r = 0; r < V::lanes; ++r) {
        block[r] =
            r < row_count ? V::load(reinterpret_cast<const T*>(addresses[r]) + c) : V::zero();
      }
      V::transpose(block);
      REGARD_UNROLL
      for (int i = 0; i < V::lanes; ++i) V::store(to + (c + i) * ld, V::mul(block[i], factor));
    }
  }
  for (; c < columns; ++c) {
    T* column = to + c * ld;
    for (std::int64_t r = 0; r < V::lanes; ++r) {
      column[r] = r < row_count ? read<T>(addresses[r] + c * column_stride) : T(0);
    }
    V::store(column, V::mul(V::load(column), factor));
  }
}

inline double as_double(float x) { return static_cast<double>(x); }
inline double as_double(double x) { return x; }
inline double as_double(Bfloat16 x) { return static_cast<double>(to_float(x)); }

/// 1 / |x|, the sum of squares formed in double; 0 for a vector of zeros.
template <class T>
inline double inverse_norm(const char* x, std::ptrdiff_t stride, std::int64_t count) {
  double sum[8] = {};  // as many sums as fill the adders
  std::int64_t c = 0;
  for (; c + 8 <= count; c += 8) {
    for (int i = 0; i < 8; ++i) {
      const double y = as_double(read<T>(x + (c + i) * stride));
      sum[i] += y * y;
    }
  }
  for (int i = 0; c < count; ++c, ++i) {
    const double y = as_double(read<T>(x + c * stride));
    sum[i] += y * y;
  }
  const double square =
      ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
  return square == 0 ? 0 : 1 / __builtin_sqrt(square);
}

/// to[j][r] = byte j of the mask row at addresses[r], for one vector of rows.
template <class V>
inline void transpose_mask(const char* const* addresses, std::int64_t row_count,
                           std::ptrdiff_t column_stride, std::int64_t keys, std::uint8_t* to,
                           std::ptrdiff_t ld) {
  std::int64_t j = 0;
  if constexpr (V::transposes_bytes) {
    if (column_stride == 1) {
      for (; j + 16 <= keys; j += 16) {
        const std::uint8_t* rows[16];
        for (std::int64_t r = 0; r < 16; ++r) {
          rows[r] = reinterpret_cast<const std::uint8_t*>(addresses[r < row_count ? r : 0]) + j;
        }
        V::transpose_bytes(rows, to + j * ld, ld);  // 16 bytes a key, whatever V::lanes is
      }
    }
  }
  for (; j < keys; ++j) {
    for (std::int64_t r = 0; r < V::lanes; ++r) {
      to[j * ld + r] = static_cast<std::uint8_t>(r < row_count && addresses[r][j * column_stride]);
    }
  }
}

}  // namespace
}  // namespace regard::kernels
