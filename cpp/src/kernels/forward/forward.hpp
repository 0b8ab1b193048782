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

#include "kernels/blocks/fma_products.hpp"
#include "kernels/blocks/output.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/softmax/dropout.hpp"
#include "kernels/softmax/online_softmax.hpp"
#include "kernels/tiles/gemm.hpp"

namespace regard::kernels {
namespace {

/// Products says how S' = K Q' and O += P V are formed: FmaProducts, DotProducts.
template <class V, class Products>
class ForwardBlock {
  using T = typename V::scalar;
  using Block = QueryBlock<V, typename Products::Scores>;
  using Values = typename Products::Values;

 public:
  ForwardBlock(const ForwardUnit& unit, ScratchMemory& memory)
      : u(unit),
        block(unit.scores, memory),
        values(unit, memory),
        dropout(unit.scores, unit.dropout) {
    columns = round_up(u.value_dim, V::lanes);
    O = memory.take<T>(V::query_block * columns);
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    Block::count(memory, sizes);
    Values::count(memory, sizes);
    memory.take<T>(V::query_block * round_up(sizes.value_dim, V::lanes));
  }

  void run() {
    attend(0, u.scores.key_count);
    write_output<V>(u, O, columns, softmax.m, softmax.l, softmax.weight_sums());
  }

 protected:
  const ForwardUnit& u;
  Block block;
  typename Products::Softmax softmax;
  Values values;
  DropoutRows<V> dropout;
  std::int64_t columns;
  bool started[Block::most_panels];
  T* O;  ///< rows x columns

  /// m, l and O over the keys [first, last).
  void attend(std::int64_t first, std::int64_t last) {
    attend(first, last, false);
    // 0 * NaN is NaN: a non-finite value at a masked position shows in O. That is rare, so it is
    // looked for in the result and the block done again with masked values left out.
    if (block.masked && !all_finite<V>(O, u.scores.row_count * columns)) attend(first, last, true);
  }

 private:
  void attend(std::int64_t first, std::int64_t last, bool careful) {
    softmax.start();
    for (auto& panel : started) panel = false;
    block.for_each_tile(first, last, [&](std::int64_t begin, std::int64_t end) {
      values.read(begin, end, block.key);
      for (int i = 0; i < block.panel_count; ++i) {
        Keys<T> keys;
        if (!block.reach(block.panels[i], begin, end, keys)) continue;
        // A key that others of the block see is multiplied by weights of 0.
        if ((keys.begin | (keys.begin + keys.count)) % Values::step != 0) block.masked = true;
        if (attend_panel(block.panels[i], keys, !started[i], careful)) started[i] = true;
      }
    });
    for (int i = 0; i < block.panel_count; ++i) {
      if (started[i]) continue;  // nothing reachable
      T* rows = O + block.panels[i].row * columns;
      for (std::int64_t j = 0; j < block.panels[i].rows * columns; ++j) rows[j] = 0;
    }
  }

  /// `first` is the panel's first tile: O is written rather than added to. False if the mask hides
  /// every key from every row, so that nothing was done.
  bool attend_panel(const Panel<T>& panel, const Keys<T>& keys, bool first, bool careful) {
    alignas(64) T maximum[V::panel_rows];
    if (!block.scores(panel, keys, maximum)) return false;
    alignas(64) T alpha[V::panel_rows];
    if (softmax.raise(panel, maximum, alpha) && !first) {
      rescale_rows<V>(O + panel.row * columns, columns, panel.rows, alpha);
    }
    const bool drops = u.dropout.threshold > 0;
    softmax.weigh(block, panel, keys, careful || drops);
    if (careful) block.mark_hidden(panel, keys);
    if (drops) drop(panel, keys);
    if (careful) {
      add_values_carefully(panel, keys, first);
    } else {
      if (drops) softmax.join(block, panel, keys);
      add_values(panel, keys, first);
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
  void add_values(const Panel<T>& panel, const Keys<T>& keys, bool first) {
    for (std::int64_t c = 0; c < columns;) {
      const int width = column_block((columns - c) / V::lanes, V::out_vectors);
      add_columns(width, panel, keys, c, first);
      c += width * V::lanes;
    }
  }

  /// One block of columns of O, `width` vectors wide. Narrower blocks take more rows, so that as
  /// many accumulators stay in flight.
  template <int VECTORS = V::out_vectors>
  void add_columns(int width, const Panel<T>& panel, const Keys<T>& keys, std::int64_t c,
                   bool first) {
    if constexpr (VECTORS > 1) {
      if (width < VECTORS) return add_columns<VECTORS - 1>(width, panel, keys, c, first);
    }
    constexpr int rows = V::out_rows * V::out_vectors / VECTORS;
    constexpr int most_rows = rows < kMostOutRows ? rows : kMostOutRows;
    for_row_blocks<most_rows>(0, panel.rows, [&]<int ROWS>(std::int64_t r) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) block.edge.visible_keys(r, r + ROWS - 1, from, to);
      values.template add<ROWS, VECTORS>(block.St + r, panel.ld, keys, from, to, c, first,
                                         O + (panel.row + r) * columns + c, columns);
    });
  }

  void add_values_carefully(const Panel<T>& panel, const Keys<T>& keys, bool first) {
    for (std::int64_t r = 0; r < panel.rows; ++r) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) block.edge.visible_keys(r, r, from, to);
      values.add_carefully(block.St + r, panel.ld, keys, from, to, first,
                           O + (panel.row + r) * columns, columns);
    }
  }
};

template <class V, class Products = FmaProducts<V>>
void forward(const ForwardUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.scratch), 0};
  ForwardBlock<V, Products>(unit, memory).run();
}

}  // namespace
}  // namespace regard::kernels
