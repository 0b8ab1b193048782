// The weights P themselves, of one block of rows and a range of keys: a pass over all keys for m
// and l, and a second one that writes P = 2^(s - m) / l. Or, in one pass, the scores themselves.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/output.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/softmax/online_softmax.hpp"

namespace regard::kernels {
namespace {

template <class V>
class WeightsBlock {
  using T = typename V::scalar;

 public:
  WeightsBlock(const WeightsUnit& unit, ScratchMemory& memory)
      : u(unit), block(unit.scores, memory) {}

  void run() {
    if (!u.before_softmax) sum_rows(block, softmax, [](const Panel<T>&, const T*, std::int64_t) {});
    for (std::int64_t r = 0; r < u.scores.row_count; ++r) {
      factor[r] =
          u.before_softmax
              ? T(kLn2)
              : finish_row<V>(u.scores, u.scores.first_row + r, softmax.m[r], softmax.l[r]).factor;
      const T hidden = u.before_softmax ? minus_infinity<V>() : T(0);
      for (std::int64_t j = u.first_key; j < u.last_key; ++j) write_scalar(hidden, address(r, j));
    }
    block.for_each_tile([&](std::int64_t begin, std::int64_t end) {
      if (end <= u.first_key || begin >= u.last_key) return;
      for (int i = 0; i < block.panel_count; ++i) write_panel(block.panels[i], begin, end);
    });
  }

 private:
  const WeightsUnit& u;
  QueryBlock<V> block;
  OnlineSoftmax<V> softmax;
  T factor[V::query_block];

  char* address(std::int64_t r, std::int64_t j) const {
    return u.out.data + r * u.out.row_stride + (j - u.first_key) * u.out.column_stride;
  }

  void write_panel(const Panel<T>& panel, std::int64_t begin, std::int64_t end) {
    alignas(64) T maximum[V::panel_rows];
    Keys<T> keys;
    if (!block.reach(panel, begin, end, keys) || !block.scores(panel, keys, maximum)) return;
    if (!u.before_softmax) {
      softmax.weigh(block, panel, keys);
      block.mark_hidden(panel, keys);
    }
    for (std::int64_t r = 0; r < panel.rows; ++r) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) block.edge.visible_keys(r, r, from, to);
      from = clamp(u.first_key - keys.begin, from, to);
      to = clamp(u.last_key - keys.begin, from, to);
      for (std::int64_t j = from; j < to; ++j) {
        const T x = block.St[j * panel.ld + r];
        write_scalar(is_hidden(x) ? T(0) : x * factor[panel.row + r],
                     address(panel.row + r, keys.begin + j));
      }
    }
  }
};

template <class V>
void weights(const WeightsUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.scratch), 0};
  WeightsBlock<V>(unit, memory).run();
}

}  // namespace
}  // namespace regard::kernels
