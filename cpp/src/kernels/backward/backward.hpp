// Gradients of attention for one block of query rows, without anything of the size of S:
//
//   D = rowsum(dO o O) - dLSE
//   for each tile of keys, for each panel of query rows (query_block.hpp):
//       S'  = K Q'
//       P'  = 2^(S' - lse)
//       dV += P' dO
//       dP' = V dO'
//       dS' = P' o (dP' - D)
//       dK += dS' Q
//       dQ += dS K
//
// dQ is this block's alone. dK and dV of a tile are summed over the block's panels, and then added
// to what all blocks share, in turn (BackwardUnit): the order of sums is that of the units, whoever
// computes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backward/backward_rows.hpp"
#include "kernels/backward/score_gradients.hpp"
#include "kernels/blocks/gradient_products.hpp"
#include "kernels/blocks/output.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/scores/option_gradients.hpp"
#include "kernels/scores/scale.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/softmax/dropout.hpp"

namespace regard::kernels {
namespace {

/// A vector type with the tiles that suit five products: dV and dK are sums over the rows of a
/// panel, so those should be as many as the keys of a tile; two tiles of scores fill L1.
template <class V>
struct BackwardTiles : V {
  static constexpr int panel_rows = 2 * V::panel_rows, query_block = 2 * panel_rows;
  static constexpr int key_tile = 64;
};

template <class V>
class BackwardBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  BackwardBlock(const BackwardUnit& unit, ScratchMemory& memory)
      : u(unit),
        block(unit.scores, memory),
        rows(unit, memory),
        dropout(unit.scores, unit.dropout),
        options(unit, memory),
        memory_(memory, {unit.scores.head_dim, unit.value_dim, unit.scores.key_tile, 0, false}) {
    columns = round_up(u.scores.head_dim, V::lanes);
    value_columns = round_up(u.value_dim, V::lanes);
    options_wanted = OptionGradients<V>::any_wanted(u);
    rows_wanted = OptionGradients<V>::any_wants_rows(u);
    scores_wanted = OptionGradients<V>::any_wants_scores(u);
    onwards = u.dquery.data || u.dkey.data || rows_wanted;
    if (onwards) block.keep_slopes(memory_.slopes);
    if (onwards || options_wanted) block.want_tile_slopes();
    value_in_place = readable_in_place<T>(u.value);
    rows.read_rows(block, gradients, memory_.value_copy);  // which is not in use yet
  }

  static void count(ScratchMemory& memory, const BackwardSizes& sizes) {
    QueryBlock<V>::count(memory,
                         {sizes.head_dim, sizes.value_dim, sizes.key_tile, 0, sizes.score_mod});
    BackwardRows<V>::count(memory, sizes);
    OptionGradients<V>::count(memory, sizes);
    Memory(memory, sizes);
  }

  void run() {
    block.for_each_tile([&](std::int64_t begin, std::int64_t end) {
      start_tile(begin, end);
      for (int i = 0; i < block.panel_count; ++i) {
        Keys<T> keys;
        if (block.reach(block.panels[i], begin, end, keys)) add_panel(i, keys);
      }
      u.wait(u.turn, end);
      finish_tile();
      u.pass(u.turn, end);
    });
    write_rows();
    u.wait(u.turn, INT64_MAX);
    for_each_option([](auto& gradient) { gradient.finish(); });
    u.pass(u.turn, INT64_MAX);
  }

 private:
  struct Memory {
    T *dPt, *slopes;  ///< keys x rows of a panel
    T *dK, *dV;       ///< of the tile, keys x columns
    T *key_copy, *value_copy;

    Memory(ScratchMemory& memory, const BackwardSizes& sizes) {
      const std::int64_t width = round_up(sizes.head_dim, V::lanes);
      const std::int64_t value_width = round_up(sizes.value_dim, V::lanes);
      dPt = memory.take<T>(sizes.key_tile * V::panel_rows);
      slopes = memory.take<T>(QueryBlock<V>::slope_count(sizes.key_tile));
      dK = memory.take<T>(sizes.key_tile * width);
      dV = memory.take<T>(sizes.key_tile * value_width);
      key_copy = memory.take<T>(sizes.key_tile * width);
      value_copy = memory.take<T>(sizes.key_tile * value_width);
    }
  };

  /// The keys and values of the tile, where they can be read.
  struct Tile {
    std::int64_t begin, count;
    const T *K, *V_;
    std::ptrdiff_t ldk, ldv;
    bool looked_at, finite;  ///< whether K and V are, once looked at
  };

  const BackwardUnit& u;
  QueryBlock<V> block;
  BackwardRows<V> rows;
  ScoreGradients<V> gradients;
  DropoutRows<V> dropout;
  OptionGradients<V> options;
  Memory memory_;
  Tile tile;
  std::int64_t columns, value_columns;
  bool options_wanted;              ///< gradients that options have of their own are
  bool onwards;                     ///< those of Q or K are, or of a factor of Q
  bool rows_wanted, scores_wanted;  ///< by options
  bool value_in_place;
  void start_tile(std::int64_t begin, std::int64_t end) {
    tile.begin = begin;
    tile.count = end - begin;
    tile.looked_at = false;
    const Rows value =
        read_tile<V>(u.value, value_in_place, begin, end, u.value_dim, memory_.value_copy);
    tile.V_ = reinterpret_cast<const T*>(value.data + begin * value.row_stride);
    tile.ldv = value.row_stride / static_cast<std::ptrdiff_t>(sizeof(T));
    Keys<T> keys;
    block.whole_tile(begin, end, keys);
    tile.K = keys.K;
    tile.ldk = keys.ldk;
    if (columns != u.scores.head_dim && onwards) {  // whole vectors of it are read
      for (std::int64_t j = 0; j < tile.count; ++j) {
        widen_row<V, T>(reinterpret_cast<const char*>(keys.K + j * keys.ldk), sizeof(T),
                        u.scores.head_dim, V::set1(1), memory_.key_copy + j * columns, columns);
      }
      tile.K = memory_.key_copy;
      tile.ldk = columns;
    }
    for (std::int64_t at = 0; at < tile.count * columns; ++at) memory_.dK[at] = 0;
    for (std::int64_t at = 0; at < tile.count * value_columns; ++at) memory_.dV[at] = 0;
    for_each_option([](auto& gradient) { gradient.start_tile(); });
  }

  /// Whether NaN or Inf among the numbers of a panel and the tile could meet a weight of 0 that is
  /// one because its key is hidden.
  bool all_finite_here(int i) {
    if (!rows.finite[i]) return false;
    if (!tile.looked_at) {
      tile.looked_at = true;
      tile.finite = rows_finite<V>(tile.K, tile.ldk, tile.count, u.scores.head_dim) &&
                    rows_finite<V>(tile.V_, tile.ldv, tile.count, u.value_dim);
    }
    return tile.finite;
  }

  void add_panel(int i, const Keys<T>& keys) {
    const Panel<T>& panel = block.panels[i];
    alignas(64) T maximum[V::panel_rows];
    block.masked = false;
    if (!block.scores(panel, keys, maximum)) return;
    const bool masked = block.masked, careful = masked && !all_finite_here(i);
    const TileEdge<V>* edge = keys.edged ? &block.edge : nullptr;
    const std::int64_t first = keys.begin - tile.begin;
    T* dSt = scores_wanted || onwards ? memory_.dPt : nullptr;
    if (dSt) {
      multiply_tile<V>(tile.V_ + first * tile.ldv, tile.ldv, keys.count, edge,
                       rows.dOt + panel.row * u.value_dim, panel.ld, u.value_dim, dSt);
    }
    gradients.weigh(block, u.dropout.threshold > 0 ? &dropout : nullptr, panel, keys, dSt, masked,
                    careful, scores_wanted);
    if (u.dvalue.data) {
      add_to_keys<V>({block.St, panel.ld, panel.rows, keys.count, careful}, edge,
                     rows.dO + panel.row * value_columns, value_columns, value_columns,
                     memory_.dV + first * value_columns, value_columns);
    }
    const auto add = [&](bool before_score_mod) {
      for_each_option([&](auto& gradient) {
        if (gradient.before_score_mod != before_score_mod) return;
        if (gradient.needs_turn()) u.wait(u.turn, tile.begin + tile.count);
        gradient.add(panel, keys, tile.begin, dSt);
      });
    };
    add(false);
    block.multiply_by_tile_slopes(panel, keys, dSt);
    add(true);
    if (!onwards) return;
    gradients.pass_options(block, panel, keys, dSt);
    if (careful) copy_hidden(block.St, keys.count * panel.ld, dSt);
    const TileNumbers<T> dS = {dSt, panel.ld, panel.rows, keys.count, careful};
    if (u.dkey.data) {
      add_to_keys<V>(dS, edge, rows.Q + panel.row * columns, columns, columns,
                     memory_.dK + first * columns, columns);
    }
    if (u.dquery.data || rows_wanted) {
      add_to_rows<V>(dS, edge, tile.K + first * tile.ldk, tile.ldk, columns,
                     rows.dQ + panel.row * columns, columns);
    }
  }

  template <class Body>
  void for_each_option(const Body& body) {
    if (options_wanted) options.for_each_wanted(u, body);
  }

  /// In turn: the tile's dK and dV join those of the other blocks.
  void finish_tile() {
    for_each_option(
        [&](auto& gradient) { gradient.finish_tile(tile.begin, tile.begin + tile.count); });
    for (std::int64_t j = 0; j < tile.count; ++j) {
      if (u.dkey.data) {
        T* dK = memory_.dK + j * columns;
        if (u.scores.cosine) {
          const T* k = tile.K + j * tile.ldk;
          if (!is_zero(dK, u.scores.head_dim)) remove_component(dK, k, u.scores.head_dim);
        }
        add_row<V>(dK, T(1), u.scores.head_dim, u.dkey.data + (tile.begin + j) * u.dkey.row_stride,
                   u.dkey.column_stride);
      }
      if (u.dvalue.data) {
        add_row<V>(memory_.dV + j * value_columns, T(1), u.value_dim,
                   u.dvalue.data + (tile.begin + j) * u.dvalue.row_stride, u.dvalue.column_stride);
      }
    }
  }

  void write_rows() {
    for (std::int64_t r = 0; r < u.scores.row_count; ++r) {
      if (rows_wanted) {
        const double by_factor = rows.derivative_by_factor(r, memory_.key_copy);
        for_each_option(
            [&](auto& gradient) { gradient.add_row(u.scores.first_row + r, by_factor); });
      }
      if (u.dquery.data) rows.add_to_query(r);
    }
  }
};

template <class V>
void backward(const BackwardUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.scratch), 0};
  BackwardBlock<V>(unit, memory).run();
}

template <class V>
std::size_t backward_bytes(const BackwardSizes& sizes) {
  ScratchMemory memory = {nullptr, 0};
  BackwardBlock<V>::count(memory, sizes);
  return memory.used;
}

}  // namespace
}  // namespace regard::kernels
