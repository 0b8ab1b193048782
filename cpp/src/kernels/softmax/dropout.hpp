// Dropout of the weights of a tile. The factor 1 / (1 - p) is part of the output's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/softmax/philox.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

template <class V>
class DropoutRows {
  using T = typename V::scalar;

 public:
  /// Rows of the block; what the generator's counter needs of them.
  DropoutRows(const ScoreUnit& unit, const Dropout& dropout) : options(dropout) {
    if (options.threshold == 0) return;
    for (std::int64_t r = 0; r < V::query_block; ++r) {
      const std::int64_t row = unit.first_row + (r < unit.row_count ? r : 0);
      query[r] = options.query + static_cast<std::uint32_t>(query_of(unit, row));
      head[r] = options.head + static_cast<std::uint32_t>(unit.group == 1 ? 0 : row % unit.group);
    }
  }

  /// P' of the keys [begin, begin + count) for the vector of rows from `r` of the block on.
  /// Hidden weights keep their sign.
  void apply(T* Pt, std::ptrdiff_t ld, std::int64_t r, std::int64_t begin, std::int64_t count) {
    visit(r, begin, count, [&](std::int64_t j, typename V::mask kept) {
      const typename V::reg p = V::load(Pt + j * ld);
      V::store(Pt + j * ld, V::select(kept, p, V::mul(p, V::zero())));
    });
  }

  /// Calls body(j, which rows keep the weight of key begin + j).
  template <class Body>
  void visit(std::int64_t r, std::int64_t begin, std::int64_t count, const Body& body) {
    using W = typename V::words;
    const typename W::reg threshold = W::set1(options.threshold);
    begin += options.key;
    const std::int64_t end = begin + count;
    for (std::int64_t j = begin; j < end;) {
      typename W::reg x[4] = {W::set1(static_cast<std::uint32_t>(j / 4)), W::load(query + r),
                              W::load(head + r), W::set1(options.element)};
      philox<W>(x, options.seed);
      if (j % 4 == 0 && j + 4 <= end) {
        REGARD_UNROLL
        for (int w = 0; w < 4; ++w) body(j - begin + w, V::at_least(x[w], threshold));
        j += 4;
        continue;
      }
      for (std::int64_t next = (j / 4 + 1) * 4; j < next && j < end; ++j) {
        body(j - begin, V::at_least(x[j % 4], threshold));
      }
    }
  }

 private:
  const Dropout& options;
  std::uint32_t query[V::query_block], head[V::query_block];
};

}  // namespace
}  // namespace regard::kernels
