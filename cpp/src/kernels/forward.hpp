// Forward attention for one block of query rows: O = softmax(scale Q K' + bias, masked) V.
//
//   for each tile of keys, for each panel of query rows (query_block.hpp):
//       S' = K Q'
//       m follows the maximum; O and l with it, where it has moved
//       P' = 2^(S' - m),  l += sum P'
//       O += P V
//   out = O / l,  lse = ln 2 (m + log2 l)
#pragma once

#include <cstddef>
#include <cstdint>

#include "dropout.hpp"
#include "gemm.hpp"
#include "kernel_api.hpp"
#include "online_softmax.hpp"
#include "output.hpp"
#include "query_block.hpp"

namespace regard::kernels {
namespace {

template <class V>
class ForwardBlock {
  using T = typename V::scalar;

  /// The values of the keys of a tile, where they can be read.
  struct Values {
    const T* Vt;
    std::ptrdiff_t ldv;
    bool first;  ///< the panel's first: O is written rather than added to
  };

 public:
  ForwardBlock(const ForwardUnit& unit, ScratchMemory& memory)
      : u(unit), block(unit.scores, memory), dropout(unit.scores, unit.dropout) {
    columns = round_up(u.value_dim, V::lanes);
    take(memory, {u.scores.head_dim, u.value_dim, u.scores.key_tile, 0}, O, value_copy);
    value_in_place = readable_in_place<T>(u.value) && columns == u.value_dim;
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    QueryBlock<V>::count(memory, sizes);
    T *a, *b;
    take(memory, sizes, a, b);
  }

  void run() {
    attend(false);
    // 0 * NaN is NaN: a non-finite value at a masked position shows in O. That is rare, so it is
    // looked for in the result and the block done again with masked values left out.
    if (block.masked && !all_finite<V>(O, u.scores.row_count * columns)) attend(true);
    write_output<V>(u, O, columns, softmax.m, softmax.l);
  }

 private:
  const ForwardUnit& u;
  QueryBlock<V> block;
  OnlineSoftmax<V> softmax;
  DropoutRows<V> dropout;
  std::int64_t columns;
  bool value_in_place;
  bool started[QueryBlock<V>::most_panels];
  T *O, *value_copy;  ///< rows x columns; a tile of values when they cannot be read in place

  static void take(ScratchMemory& memory, const ScratchSizes& sizes, T*& output, T*& values) {
    const std::int64_t width = round_up(sizes.value_dim, V::lanes);
    output = memory.take<T>(V::query_block * width);
    values = memory.take<T>(sizes.key_tile * width);
  }

  void attend(bool careful) {
    softmax.start();
    for (auto& panel : started) panel = false;
    block.for_each_tile([&](std::int64_t begin, std::int64_t end) {
      const Rows value = read_tile<V>(u.value, value_in_place, begin, end, u.value_dim, value_copy);
      for (int i = 0; i < block.panel_count; ++i) {
        Keys<T> keys;
        if (!block.reach(block.panels[i], begin, end, keys)) continue;
        const Values values = {
            reinterpret_cast<const T*>(value.data + keys.begin * value.row_stride),
            value.row_stride / static_cast<std::ptrdiff_t>(sizeof(T)), !started[i]};
        if (attend_panel(block.panels[i], keys, values, careful)) started[i] = true;
      }
    });
    for (int i = 0; i < block.panel_count; ++i) {
      if (started[i]) continue;  // nothing reachable
      T* rows = O + block.panels[i].row * columns;
      for (std::int64_t j = 0; j < block.panels[i].rows * columns; ++j) rows[j] = 0;
    }
  }

  /// False if the mask hides every key from every row, so that nothing was done.
  bool attend_panel(const Panel<T>& panel, const Keys<T>& keys, const Values& values,
                    bool careful) {
    alignas(64) T maximum[V::panel_rows];
    if (!block.scores(panel, keys, maximum)) return false;
    alignas(64) T alpha[V::panel_rows];
    if (softmax.raise(panel, maximum, alpha) && !values.first) {
      rescale_rows<V>(O + panel.row * columns, columns, panel.rows, alpha);
    }
    softmax.weigh(block, panel, keys);
    if (careful) block.mark_hidden(panel, keys);
    if (u.dropout.threshold > 0) drop(panel, keys);
    if (careful) {
      add_values_carefully(panel, keys, values);
    } else {
      add_values(panel, keys, values);
    }
    return true;
  }

  void drop(const Panel<T>& panel, const Keys<T>& keys) {
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      block.used_keys(panel, keys, r, from, to);
      dropout.apply(block.St + from * panel.ld + r, panel.ld, panel.row + r, keys.begin + from,
                    to - from);
    }
  }

  /// O += P V over the keys that the rows can see.
  void add_values(const Panel<T>& panel, const Keys<T>& keys, const Values& values) {
    for (std::int64_t c = 0; c < columns;) {
      const int width = column_block((columns - c) / V::lanes, V::out_vectors);
      add_columns(width, panel, keys, values, c);
      c += width * V::lanes;
    }
  }

  /// One block of columns of O, `width` vectors wide. Narrower blocks take more rows, so that as
  /// many accumulators stay in flight.
  template <int VECTORS = V::out_vectors>
  void add_columns(int width, const Panel<T>& panel, const Keys<T>& keys, const Values& values,
                   std::int64_t c) {
    if constexpr (VECTORS > 1) {
      if (width < VECTORS) return add_columns<VECTORS - 1>(width, panel, keys, values, c);
    }
    constexpr int rows = V::out_rows * V::out_vectors / VECTORS;
    constexpr int most_rows = rows < kMostOutRows ? rows : kMostOutRows;
    for_row_blocks<most_rows>(0, panel.rows, [&]<int ROWS>(std::int64_t r) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) block.edge.visible_keys(r, r + ROWS - 1, from, to);
      value_block<V, ROWS, VECTORS>(block.St + from * panel.ld + r, panel.ld,
                                    values.Vt + from * values.ldv + c, values.ldv, to - from,
                                    values.first, O + (panel.row + r) * columns + c, columns);
    });
  }

  void add_values_carefully(const Panel<T>& panel, const Keys<T>& keys, const Values& values) {
    for (std::int64_t r = 0; r < panel.rows; ++r) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) block.edge.visible_keys(r, r, from, to);
      careful_values<V>(block.St + from * panel.ld + r, panel.ld, values.Vt + from * values.ldv,
                        values.ldv, to - from, values.first, O + (panel.row + r) * columns,
                        columns);
    }
  }
};

template <class V>
void forward(const ForwardUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.scratch), 0};
  ForwardBlock<V>(unit, memory).run();
}

}  // namespace
}  // namespace regard::kernels
