// The cache lines that are asked for while a run of rows is read: those of the rows that are read
// some way further on, in the order of their addresses, so many with each step of the arithmetic.
//
// The order matters more than the distance: products that take several rows at a time, line by
// line, touch memory in an order that no hardware prefetcher follows (docs/tuning.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/stored_rows.hpp"

namespace regard::kernels {
namespace {

/// Rows ahead that are fetched, of `bytes` each.
inline std::int64_t rows_ahead(const Fetch& fetch, std::ptrdiff_t bytes) {
  return bytes > 0 ? (fetch.ahead + bytes - 1) / bytes : 0;
}

class RowFetch {
 public:
  /// `count` rows of `bytes` from `first` on, `stride` bytes apart.
  RowFetch(const char* first, std::ptrdiff_t stride, std::int64_t count, std::ptrdiff_t bytes,
           const Fetch& fetch)
      : at(first), into_l2(fetch.into_l2) {
    const bool dense = stride == bytes;  // one long row
    length = dense ? count * bytes : bytes;
    gap = stride - bytes;
    end = first + length;
    last = dense || count == 0 ? end : end + (count - 1) * stride;
  }

  /// The next lines. Some past a row's end may be among them, which is no fault wherever they lie.
  template <int LINES>
  void step() {
    if (into_l2) {
      REGARD_UNROLL
      for (int i = 0; i < LINES; ++i) __builtin_prefetch(at + i * kLine, 0, 2);
    } else {
      REGARD_UNROLL
      for (int i = 0; i < LINES; ++i) __builtin_prefetch(at + i * kLine);
    }
    at += LINES * kLine;
    if (at >= end) next_row();
  }

  /// What steps have left out, of rows that are not whole lines.
  void rest() {
    while (at < last) step<1>();
  }

 private:
  static constexpr std::ptrdiff_t kLine = 64;
  const char *at, *end, *last;  ///< the next line; ends of its row and of the last
  std::ptrdiff_t length, gap;   ///< of a row, and from its end to the next
  bool into_l2;

  void next_row() {
    if (end >= last) return;
    at = end + gap;
    end = at + length;
  }
};

}  // namespace
}  // namespace regard::kernels
