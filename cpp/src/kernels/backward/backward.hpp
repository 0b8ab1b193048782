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
        dropout(unit.scores, unit.dropout),
        options(unit, memory),
        memory_(memory, {unit.scores.head_dim, unit.value_dim, unit.scores.key_tile, 0}) {
    columns = round_up(u.scores.head_dim, V::lanes);
    value_columns = round_up(u.value_dim, V::lanes);
    options_wanted = OptionGradients<V>::any_wanted(u);
    rows_wanted = OptionGradients<V>::any_wants_rows(u);
    scores_wanted = OptionGradients<V>::any_wants_scores(u);
    onwards = u.dquery.data || u.dkey.data || rows_wanted;
    if (onwards) block.keep_slopes(memory_.slopes);
    value_in_place = readable_in_place<T>(u.value);
    read_rows();
  }

  static void count(ScratchMemory& memory, const BackwardSizes& sizes) {
    QueryBlock<V>::count(memory, {sizes.head_dim, sizes.value_dim, sizes.key_tile, 0});
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
    T *Q, *dO, *dOt;  ///< rows x columns, times their factors; dO also transposed, by panels
    T* dQ;            ///< rows x columns
    T *dPt, *slopes;  ///< keys x rows of a panel
    T *dK, *dV;       ///< of the tile, keys x columns
    T *key_copy, *value_copy;

    Memory(ScratchMemory& memory, const BackwardSizes& sizes) {
      const std::int64_t width = round_up(sizes.head_dim, V::lanes);
      const std::int64_t value_width = round_up(sizes.value_dim, V::lanes);
      Q = memory.take<T>(V::query_block * width);
      dO = memory.take<T>(V::query_block * value_width);
      dOt = memory.take<T>(V::query_block * sizes.value_dim);
      dQ = memory.take<T>(V::query_block * width);
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
  bool finite[QueryBlock<V>::most_panels];  ///< rows of Q and dO of a panel, and their D and lse
  T factor[V::query_block];                 ///< what Q was multiplied by, but log2(e)

  /// Packs Q, dO and dO', and computes D and the sink's part.
  void read_rows() {
    const ScoreUnit& s = u.scores;
    double sinks[V::query_block];
    for (int i = 0; i < block.panel_count; ++i) {
      const Panel<T>& panel = block.panels[i];
      T* dO = memory_.dO + panel.row * value_columns;
      const char* addresses[V::panel_rows];
      bool numbers = true;
      for (std::int64_t r = 0; r < panel.rows; ++r) {
        numbers &= read_row(panel.row + r, sinks[panel.row + r]);
        addresses[r] = reinterpret_cast<const char*>(dO + r * value_columns);
      }
      for (std::int64_t r = panel.row + panel.rows; r < panel.row + panel.ld; ++r) {
        gradients.lse[r] = static_cast<T>(__builtin_inf());  // weighs nothing
        gradients.D[r] = 0;
      }
      for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
        transpose_rows<V>(addresses + r, panel.rows - r, sizeof(T), u.value_dim, V::set1(1),
                          memory_.dOt + panel.row * u.value_dim + r, panel.ld);
      }
      T* dQ = memory_.dQ + panel.row * columns;
      for (std::int64_t at = 0; at < panel.rows * columns; ++at) dQ[at] = 0;
      finite[i] = numbers &&
                  rows_finite<V>(memory_.Q + panel.row * columns, columns, panel.rows, columns) &&
                  rows_finite<V>(dO, value_columns, panel.rows, value_columns);
    }
    if (!u.dsink) return;
    for (std::int64_t head = 0; head < s.group; ++head) u.dsink[head] = 0;
    for (std::int64_t r = 0; r < s.row_count; ++r) u.dsink[(s.first_row + r) % s.group] -= sinks[r];
  }

  /// One row; `sink` becomes its weight times D. Returns whether D and lse are finite, or the row
  /// sees nothing.
  bool read_row(std::int64_t r, double& sink) {
    const ScoreUnit& s = u.scores;
    const std::int64_t row = s.first_row + r, head = s.group == 1 ? 0 : row % s.group;
    T* Q = memory_.Q + r * columns;
    widen(s.query_storage, s.query, row, s.head_dim, Q, columns);
    factor[r] = static_cast<T>(query_factor<V, T>(s, row, 1, Q, sizeof(T)));
    for (std::int64_t c = 0; c < columns; ++c) Q[c] *= factor[r];

    T* dO = memory_.dO + r * value_columns;
    T* O = memory_.value_copy;  // not in use yet
    widen(u.out_storage, u.dout, row, u.value_dim, dO, value_columns);
    widen(u.out_storage, u.out, row, u.value_dim, O, value_columns);
    reg sum = V::zero();
    for (std::int64_t c = 0; c < value_columns; c += V::lanes) {
      sum = V::fma(V::load(dO + c), V::load(O + c), sum);
    }
    alignas(64) T lanes[V::lanes];
    V::store(lanes, sum);
    double D = 0;
    for (const T lane : lanes) D += static_cast<double>(lane);
    if (D - D != 0 && u.dsink && !sees_a_key<V>(s, row)) D = 0;  // its output is 0 whatever happens
    if (u.dlse.data) D -= static_cast<double>(read<T>(row_address(u.dlse, s.group, row)));
    if (u.dropout.threshold > 0) {
      const T keep = static_cast<T>(u.dropout.keep_factor);
      for (std::int64_t c = 0; c < value_columns; ++c) dO[c] *= keep;
    }
    const auto lse = static_cast<double>(read<T>(row_address(u.lse, s.group, row)));
    const bool empty = lse == -__builtin_inf();
    sink = 0;
    if (u.dsink && !empty) sink = __builtin_exp(s.sink[head] - lse) * D;
    if (empty) D = 0;
    gradients.D[r] = static_cast<T>(D);
    gradients.lse[r] = empty ? T(0) : static_cast<T>(lse * kLog2E);
    return D - D == 0 && (empty || lse - lse == 0);
  }

  void widen(Storage storage, const Rows& rows, std::int64_t row, std::int64_t count, T* to,
             std::int64_t width) const {
    with_storage<V>(storage, [&]<class S>() {
      widen_row<V, S>(row_address(rows, u.scores.group, row), rows.column_stride, count, V::set1(1),
                      to, width);
    });
  }

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
    if (!finite[i]) return false;
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
                       memory_.dOt + panel.row * u.value_dim, panel.ld, u.value_dim, dSt);
    }
    gradients.weigh(block, u.dropout.threshold > 0 ? &dropout : nullptr, panel, keys, dSt, masked,
                    careful, scores_wanted);
    if (u.dvalue.data) {
      add_to_keys<V>({block.St, panel.ld, panel.rows, keys.count, careful}, edge,
                     memory_.dO + panel.row * value_columns, value_columns, value_columns,
                     memory_.dV + first * value_columns, value_columns);
    }
    for_each_option([&](auto& gradient) {
      if (gradient.needs_turn()) u.wait(u.turn, tile.begin + tile.count);
      gradient.add(panel, keys, tile.begin, dSt);
    });
    if (!onwards) return;
    gradients.pass_options(block, panel, keys, dSt);
    if (careful) copy_hidden(block.St, keys.count * panel.ld, dSt);
    const TileNumbers<T> dS = {dSt, panel.ld, panel.rows, keys.count, careful};
    if (u.dkey.data) {
      add_to_keys<V>(dS, edge, memory_.Q + panel.row * columns, columns, columns,
                     memory_.dK + first * columns, columns);
    }
    if (u.dquery.data || rows_wanted) {
      add_to_rows<V>(dS, edge, tile.K + first * tile.ldk, tile.ldk, columns,
                     memory_.dQ + panel.row * columns, columns);
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
          if (!is_zero(dK)) remove_component(dK, k, u.scores.head_dim);
        }
        add_row(dK, T(1), u.scores.head_dim, u.dkey.data + (tile.begin + j) * u.dkey.row_stride,
                u.dkey.column_stride);
      }
      if (u.dvalue.data) {
        add_row(memory_.dV + j * value_columns, T(1), u.value_dim,
                u.dvalue.data + (tile.begin + j) * u.dvalue.row_stride, u.dvalue.column_stride);
      }
    }
  }

  void write_rows() {
    const ScoreUnit& s = u.scores;
    for (std::int64_t r = 0; r < s.row_count && rows_wanted; ++r) {
      const double by_factor = derivative_by_factor(r);
      for_each_option([&](auto& gradient) { gradient.add_row(s.first_row + r, by_factor); });
    }
    if (!u.dquery.data) return;
    for (std::int64_t r = 0; r < s.row_count; ++r) {
      T* dQ = memory_.dQ + r * columns;
      if (s.cosine && !is_zero(dQ)) remove_component(dQ, memory_.Q + r * columns, s.head_dim);
      const bool sees = factor[r] - factor[r] == 0 || !is_zero(dQ);  // 0 * NaN
      add_row(dQ, sees ? factor[r] : T(0), s.head_dim,
              row_address(u.dquery, s.group, s.first_row + r), u.dquery.column_stride);
    }
  }

  /// scale q . dQ with the query as it was given, of length 1 for cosines: packed ones may have
  /// been multiplied by 0.
  double derivative_by_factor(std::int64_t r) {
    const ScoreUnit& s = u.scores;
    const std::int64_t row = s.first_row + r, head = s.group == 1 ? 0 : row % s.group;
    const T* dQ = memory_.dQ + r * columns;
    if (is_zero(dQ)) return 0;    // nobody looks, and the query may hold anything
    T* query = memory_.key_copy;  // not in use any more
    widen(s.query_storage, s.query, row, s.head_dim, query, columns);
    double scale = s.scale[head * s.scale_step];
    if (s.cosine) scale *= inverse_norm<T>(reinterpret_cast<char*>(query), sizeof(T), s.head_dim);
    double dot = 0;
    for (std::int64_t c = 0; c < s.head_dim; ++c) {
      dot += static_cast<double>(query[c]) * static_cast<double>(dQ[c]);
    }
    return scale * dot;
  }

  bool is_zero(const T* x) const {
    bool zero = true;
    for (std::int64_t c = 0; c < u.scores.head_dim; ++c) zero &= x[c] == 0;
    return zero;
  }

  /// to += times * x.
  static void add_row(const T* x, T times, std::int64_t count, char* to, std::ptrdiff_t stride) {
    std::int64_t c = 0;
    if (stride == static_cast<std::ptrdiff_t>(sizeof(T))) {
      const reg by = V::set1(times);
      for (; c + V::lanes <= count; c += V::lanes) {
        T* place = reinterpret_cast<T*>(to) + c;
        V::store(place, V::add(V::load(place), V::mul(V::load(x + c), by)));
      }
    }
    for (; c < count; ++c) add_scalar(x[c] * times, to + c * stride);
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
