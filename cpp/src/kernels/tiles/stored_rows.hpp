// Rows of keys or values where they are kept, and a tile of them where the products can read it:
// in place if possible, else widened or gathered into a copy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/scratch_memory.hpp"
#include "kernels/tiles/storage.hpp"

namespace regard::kernels {
namespace {

/// Rows that can be read in place as const T*: dense columns, aligned to T.
template <class T>
inline bool readable_in_place(const StoredRows& s) {
  constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(T));
  return s.storage == Storage::compute && contiguous_columns<T>(s.rows) &&
         s.rows.row_stride % size == 0 && s.page_stride % size == 0 &&
         reinterpret_cast<std::uintptr_t>(s.rows.data) % sizeof(T) == 0;
}

/// First element of row j.
inline char* stored_row(const StoredRows& s, std::int64_t j) {
  if (s.pages == nullptr) return s.rows.data + j * s.rows.row_stride;
  return s.rows.data + s.pages[j / s.page_size] * s.page_stride +
         j % s.page_size * s.rows.row_stride;
}

inline std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// First row after j of another page, of rows in pages.
inline std::int64_t page_end(const StoredRows& s, std::int64_t j) {
  return (j / s.page_size + 1) * s.page_size;
}

/// What the elements of row j are multiplied by.
inline float stored_scale(const StoredRows& s, std::int64_t j) {
  if (s.scales == nullptr) return 1;
  if (s.pages == nullptr) return read<float>(s.scales + j * s.scale_stride);
  return read<float>(s.scales + s.pages[j / s.page_size] * s.scale_page_stride +
                     j % s.page_size * s.scale_stride);
}

/// to[j - begin] = stored_scale of the rows [begin, end).
template <class T>
inline void read_scales(const StoredRows& s, std::int64_t begin, std::int64_t end, T* to) {
  if (s.scales == nullptr) {
    for (std::int64_t j = begin; j < end; ++j) *to++ = 1;
    return;
  }
  for (std::int64_t j = begin; j < end;) {
    const char* at = s.scales + j * s.scale_stride;
    std::int64_t run = end;
    if (s.pages) {
      const std::int64_t page = j / s.page_size;
      at = s.scales + s.pages[page] * s.scale_page_stride + j % s.page_size * s.scale_stride;
      run = smaller(page_end(s, j), end);
    }
    if (s.scale_stride == static_cast<std::ptrdiff_t>(sizeof(float))) {  // vectors, if it is told
      for (; j < run; ++j, at += sizeof(float)) *to++ = static_cast<T>(read<float>(at));
    } else {
      for (; j < run; ++j, at += s.scale_stride) *to++ = static_cast<T>(read<float>(at));
    }
  }
}

/// Whether rows [begin, end) are a fixed stride apart.
inline bool evenly_spaced(const StoredRows& s, std::int64_t begin, std::int64_t end) {
  return s.pages == nullptr || begin / s.page_size == (end - 1) / s.page_size;
}

/// Rows [begin, end), not empty, as numbers of the compute type: in place if `in_place` allows it,
/// else in `copy`. Row j is at data + j * row_stride either way.
template <class V>
Rows read_tile(const StoredRows& s, bool in_place, std::int64_t begin, std::int64_t end,
               std::int64_t width, typename V::scalar* copy) {
  using T = typename V::scalar;
  if (in_place && evenly_spaced(s, begin, end)) {
    const std::ptrdiff_t stride = s.rows.row_stride;
    return {stored_row(s, begin) - begin * stride, 0, stride, s.rows.column_stride};
  }
  const std::int64_t ld = round_up(width, V::lanes);
  with_storage<V>(s.storage, [&]<class S>() {
    for (std::int64_t j = begin; j < end; ++j) {
      widen_row<V, S>(stored_row(s, j), s.rows.column_stride, width,
                      V::set1(static_cast<T>(stored_scale(s, j))), copy + (j - begin) * ld, ld);
    }
  });
  const std::ptrdiff_t stride = ld * static_cast<std::ptrdiff_t>(sizeof(T));
  return {reinterpret_cast<char*>(copy) - begin * stride, 0, stride, sizeof(T)};
}

}  // namespace
}  // namespace regard::kernels
