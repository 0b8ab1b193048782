// Forward mode: how the output of one block of query rows moves when Q, K and V do, in one pass.
//
//   for each tile of keys, for each panel of query rows:
//       S'  = K Q'
//       dS' = K dQ' + dK Q'
//       P'  = 2^(S' - m),  W' = P' o dS'
//       l  += sum P',      t += sum W'
//       O  += P V,         U += W V + P dV
//   dLSE = t / l,  out = O / l,  dout = U / l - dLSE out
//
// The output has the bits of the forward pass (forward.hpp), whose tiles these are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/gradient_products.hpp"
#include "kernels/blocks/output.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/scores/scale.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/softmax/dropout.hpp"
#include "kernels/softmax/online_softmax.hpp"

namespace regard::kernels {
namespace {

template <class V>
class TangentBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  TangentBlock(const TangentUnit& unit, ScratchMemory& memory)
      : u(unit),
        block(unit.scores, memory),
        dropout(unit.scores, unit.dropout),
        memory_(memory, {unit.scores.head_dim, unit.value_dim, unit.scores.key_tile, 0, false}) {
    columns = round_up(u.value_dim, V::lanes);
    key_columns = round_up(u.scores.head_dim, V::lanes);
    moves = u.dquery.data || u.dkey.data;
    if (moves) block.keep_slopes(memory_.slopes);
    if (moves) block.want_tile_slopes();
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    QueryBlock<V>::count(memory, sizes);
    Memory(memory, sizes);
  }

  void run() {
    softmax.start();
    for (T& sum : t) sum = 0;
    for (std::int64_t at = 0; at < u.scores.row_count * columns; ++at) {
      memory_.O[at] = memory_.U[at] = 0;
    }
    if (u.dquery.data) {
      for (int i = 0; i < block.panel_count; ++i) pack_moves(block.panels[i]);
    }
    block.for_each_tile([&](std::int64_t begin, std::int64_t end) {
      start_tile(begin, end);
      for (int i = 0; i < block.panel_count; ++i) {
        Keys<T> keys;
        if (block.reach(block.panels[i], begin, end, keys)) add_panel(block.panels[i], keys);
      }
    });
    for (std::int64_t r = 0; r < u.scores.row_count; ++r) write_row_of(r);
  }

 private:
  struct Memory {
    T *O, *U;         ///< rows x columns
    T *dQt, *row;     ///< as Q'; a vector of rows of it, and one of Q
    T *dSt, *more;    ///< keys x rows of a panel
    T* slopes;        ///< likewise
    T *dK, *V_, *dV;  ///< of the tile, where they cannot be read in place

    Memory(ScratchMemory& memory, const ScratchSizes& sizes) {
      const std::int64_t width = round_up(sizes.head_dim, V::lanes);
      const std::int64_t value_width = round_up(sizes.value_dim, V::lanes);
      O = memory.take<T>(V::query_block * value_width);
      U = memory.take<T>(V::query_block * value_width);
      dQt = memory.take<T>(V::query_block * sizes.head_dim);
      row = memory.take<T>((V::lanes + 1) * width);
      dSt = memory.take<T>(sizes.key_tile * V::panel_rows);
      more = memory.take<T>(sizes.key_tile * V::panel_rows);
      slopes = memory.take<T>(QueryBlock<V>::slope_count(sizes.key_tile));
      dK = memory.take<T>(sizes.key_tile * width);
      V_ = memory.take<T>(sizes.key_tile * value_width);
      dV = memory.take<T>(sizes.key_tile * value_width);
    }
  };

  struct Tile {
    std::int64_t begin, count;
    const T *dK, *V_, *dV;  ///< null: does not move
    std::ptrdiff_t lddk, ldv, lddv;
    bool looked_at, finite;
  };

  const TangentUnit& u;
  QueryBlock<V> block;
  OnlineSoftmax<V> softmax;
  DropoutRows<V> dropout;
  Memory memory_;
  Tile tile;
  std::int64_t columns, key_columns;
  bool moves;                       ///< scores do
  alignas(64) T t[V::query_block];  ///< sum of W'

  /// dQ' of a panel, times what Q was multiplied by.
  void pack_moves(const Panel<T>& panel) {
    const ScoreUnit& s = u.scores;
    T* dQt = memory_.dQt + panel.row * s.head_dim;
    for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
      const char* rows[V::lanes];
      const std::int64_t count = panel.rows - r < V::lanes ? panel.rows - r : V::lanes;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t row = s.first_row + panel.row + r + i;
        T* to = memory_.row + i * key_columns;
        widen_row<V, T>(row_address(u.dquery, s.group, row), u.dquery.column_stride, s.head_dim,
                        V::set1(1), to, key_columns);
        double factor = row_scale<V>(s, row) * kLog2E;
        if (s.cosine) {
          T* query = memory_.row + V::lanes * key_columns;
          with_storage<V>(s.query_storage, [&]<class S>() {
            widen_row<V, S>(row_address(s.query, s.group, row), s.query.column_stride, s.head_dim,
                            V::set1(1), query, key_columns);
          });
          factor *= remove_component(to, query, s.head_dim);
        }
        for (std::int64_t c = 0; c < s.head_dim; ++c) {
          to[c] = static_cast<T>(factor * static_cast<double>(to[c]));
        }
        rows[i] = reinterpret_cast<const char*>(to);
      }
      transpose_rows<V>(rows, count, sizeof(T), s.head_dim, V::set1(1), dQt + r, panel.ld);
    }
  }

  /// Rows of V or of a move, as whole vectors of columns.
  const T* rows_of(const StoredRows& rows, std::int64_t begin, std::int64_t end, std::int64_t width,
                   T* copy, std::ptrdiff_t& ld) const {
    const bool in_place = readable_in_place<T>(rows) && width % V::lanes == 0;
    const Rows at = read_tile<V>(rows, in_place, begin, end, width, copy);
    ld = at.row_stride / static_cast<std::ptrdiff_t>(sizeof(T));
    return reinterpret_cast<const T*>(at.data + begin * at.row_stride);
  }

  static StoredRows of_compute_type(const Rows& rows) {
    return {rows, Storage::compute, nullptr, 0, nullptr, 0, 0, 0};
  }

  void start_tile(std::int64_t begin, std::int64_t end) {
    tile = {begin, end - begin, nullptr, nullptr, nullptr, 0, 0, 0, false, true};
    tile.V_ = rows_of(u.value, begin, end, u.value_dim, memory_.V_, tile.ldv);
    if (u.dvalue.data) {
      const StoredRows move = of_compute_type(u.dvalue);
      tile.dV = rows_of(move, begin, end, u.value_dim, memory_.dV, tile.lddv);
    }
    if (!u.dkey.data) return;
    const StoredRows move = of_compute_type(u.dkey);
    if (!u.scores.cosine) {
      tile.dK = rows_of(move, begin, end, u.scores.head_dim, memory_.dK, tile.lddk);
      return;
    }
    read_tile<V>(move, false, begin, end, u.scores.head_dim, memory_.dK);
    tile.dK = memory_.dK;
    tile.lddk = key_columns;
    Keys<T> keys;
    block.whole_tile(begin, end, keys);
    for (std::int64_t j = 0; j < tile.count; ++j) {
      remove_component(memory_.dK + j * key_columns, keys.K + j * keys.ldk, u.scores.head_dim);
    }
  }

  bool values_finite() {
    if (!tile.looked_at) {
      tile.looked_at = true;
      tile.finite = rows_finite<V>(tile.V_, tile.ldv, tile.count, u.value_dim);
      if (tile.dV) tile.finite &= rows_finite<V>(tile.dV, tile.lddv, tile.count, u.value_dim);
    }
    return tile.finite;
  }

  void add_panel(const Panel<T>& panel, const Keys<T>& keys) {
    alignas(64) T maximum[V::panel_rows], alpha[V::panel_rows];
    block.masked = false;
    if (!block.scores(panel, keys, maximum)) return;
    const bool careful = block.masked && !values_finite();
    if (softmax.raise(panel, maximum, alpha)) {
      rescale_rows<V>(memory_.O + panel.row * columns, columns, panel.rows, alpha);
      rescale_rows<V>(memory_.U + panel.row * columns, columns, panel.rows, alpha);
      for (std::int64_t r = 0; r < panel.ld; ++r) t[panel.row + r] *= alpha[r];
    }
    softmax.weigh(block, panel, keys);
    if (careful) block.mark_hidden(panel, keys);
    const TileEdge<V>* edge = keys.edged ? &block.edge : nullptr;
    if (moves) move_scores(panel, keys, edge);
    if (u.dropout.threshold > 0) drop(panel, keys);
    if (careful && moves) copy_hidden(block.St, keys.count * panel.ld, memory_.dSt);
    const TileNumbers<T> P = {block.St, panel.ld, panel.rows, keys.count, careful};
    const TileNumbers<T> W = {memory_.dSt, panel.ld, panel.rows, keys.count, careful};
    const std::int64_t first = keys.begin - tile.begin;
    T *O = memory_.O + panel.row * columns, *U = memory_.U + panel.row * columns;
    add_to_rows<V>(P, edge, tile.V_ + first * tile.ldv, tile.ldv, columns, O, columns);
    if (moves) add_to_rows<V>(W, edge, tile.V_ + first * tile.ldv, tile.ldv, columns, U, columns);
    if (tile.dV) {
      add_to_rows<V>(P, edge, tile.dV + first * tile.lddv, tile.lddv, columns, U, columns);
    }
  }

  /// W' = P' o dS' in place of dS', and t.
  void move_scores(const Panel<T>& panel, const Keys<T>& keys, const TileEdge<V>* edge) {
    const ScoreUnit& s = u.scores;
    T* dSt = memory_.dSt;
    const bool both = u.dquery.data && tile.dK;
    T* by_key = both ? memory_.more : dSt;
    if (u.dquery.data) {
      multiply_tile<V>(keys.K, keys.ldk, keys.count, edge, memory_.dQt + panel.row * s.head_dim,
                       panel.ld, s.head_dim, dSt);
    }
    if (tile.dK) {
      multiply_tile<V>(tile.dK + (keys.begin - tile.begin) * tile.lddk, tile.lddk, keys.count, edge,
                       panel.Qt, panel.ld, s.head_dim, by_key);
    }
    block.multiply_by_tile_slopes(panel, keys, dSt);
    if (both) block.multiply_by_tile_slopes(panel, keys, by_key);
    const Slopes<V> slopes = block.slopes();
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      block.used_keys(panel, keys, r, from, to);
      reg sum = V::zero();
      for (std::int64_t j = from; j < to; ++j) {
        const std::int64_t at = j * panel.ld + r;
        reg ds = V::load(dSt + at);
        if (both) ds = V::add(ds, V::load(by_key + at));
        ds = slopes.template multiply<false>(ds, at, j);
        const reg p = V::load(block.St + at);
        const reg w = V::mul(p, V::mul(ds, V::set1(static_cast<T>(kLn2))));
        const reg seen = V::select(V::equal(p, V::zero()), V::zero(), w);
        V::store(dSt + at, seen);
        sum = V::add(sum, seen);
      }
      V::store(t + panel.row + r, V::add(V::load(t + panel.row + r), sum));
    }
  }

  void drop(const Panel<T>& panel, const Keys<T>& keys) {
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      block.used_keys(panel, keys, r, from, to);
      dropout.visit(panel.row + r, keys.begin + from, to - from,
                    [&](std::int64_t j, typename V::mask kept) {
                      const std::int64_t at = (from + j) * panel.ld + r;
                      const reg p = V::load(block.St + at);
                      V::store(block.St + at, V::select(kept, p, V::mul(p, V::zero())));
                      if (!moves) return;
                      T* w = memory_.dSt + at;
                      V::store(w, V::select(kept, V::load(w), V::zero()));
                    });
    }
  }

  void write_row_of(std::int64_t r) {
    const ScoreUnit& s = u.scores;
    const std::int64_t row = s.first_row + r;
    const RowSum<T> z = finish_row<V>(s, row, softmax.m[r], softmax.l[r]);
    const T dlse = z.factor * t[r];
    T *O = memory_.O + r * columns, *U = memory_.U + r * columns;
    for (std::int64_t c = 0; c < columns; ++c) U[c] -= dlse * O[c];
    T factor = z.factor;
    if (u.dropout.threshold > 0) {
      factor = static_cast<T>(static_cast<double>(factor) * u.dropout.keep_factor);
    }
    with_storage<V>(u.out_storage, [&]<class S>() {
      const reg by = V::set1(factor);
      narrow_row<V, S>(O, by, u.value_dim, row_address(u.out, s.group, row), u.out.column_stride);
      narrow_row<V, S>(U, by, u.value_dim, row_address(u.dout, s.group, row), u.dout.column_stride);
    });
    if (u.lse.data) write_scalar(log_sum_exp(z), row_address(u.lse, s.group, row));
    if (u.dlse.data) write_scalar(dlse, row_address(u.dlse, s.group, row));
  }
};

template <class V>
void tangent(const TangentUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.scratch), 0};
  TangentBlock<V>(unit, memory).run();
}

template <class V>
std::size_t tangent_bytes(const ScratchSizes& sizes) {
  ScratchMemory memory = {nullptr, 0};
  TangentBlock<V>::count(memory, sizes);
  return memory.used;
}

}  // namespace
}  // namespace regard::kernels
