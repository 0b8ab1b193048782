// A block of query rows: packed in panels, scored against one tile of keys at a time.
//
//   pack Q' (head_dim x rows), times scale * log2(e)
//   for each tile of keys the block can reach (boundaries at absolute multiples of key_tile):
//       for each panel of query rows:
//           S' = K Q'    (keys x rows)    queries in the lanes; then the options, then the masks
//
// What is done with S' is up to the kernel: forward.hpp, weights.hpp, summary.hpp.
//
// A panel is what the register tiles and the L1 cache want; a block is several panels, so that a
// tile of keys is fetched (or gathered, when it cannot be read in place) once for all.
//
// Every lane goes through the same operations in the same order whatever the other lanes hold, and
// tiles start at absolute key positions, so a row's result does not depend on its block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gemm.hpp"
#include "kernel_api.hpp"
#include "pack.hpp"
#include "reach.hpp"
#include "score_options.hpp"
#include "scratch_memory.hpp"
#include "stored_rows.hpp"
#include "unroll.hpp"

namespace regard::kernels {
namespace {

/// Rows [row, row + rows) of a block, in `ld` lanes.
template <class T>
struct Panel {
  std::int64_t row, rows, ld;
  T* Qt;  ///< head_dim x rows
};

/// Keys [begin, begin + count) of a tile, for one panel.
template <class T>
struct Keys {
  std::int64_t begin, count;
  const T* K;
  std::ptrdiff_t ldk;
  bool edged;  ///< some row of the panel does not see some of them for its position
};

template <class V>
class QueryBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  static constexpr int most_panels = V::query_block / V::panel_rows;

  QueryBlock(const ScoreUnit& unit, ScratchMemory& memory) : u(unit), options(unit) {
    take(memory, {u.head_dim, 0, u.key_tile, 0}, Qt, St, key_copy, query_copy);
    key_in_place = readable_in_place<T>(u.key);
    split_panels();
    for (int i = 0; i < panel_count; ++i) pack(panels[i]);
  }

  /// Counts the scratch memory that the constructor takes.
  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    T *a, *b, *c, *d;
    take(memory, sizes, a, b, c, d);
  }

  int panel_count;
  Panel<T> panels[most_panels];
  T* St;             ///< S' of one panel, at St[key * panel.ld + row]
  TileEdge<V> edge;  ///< of the panel and tile of the last call of `scores`, if edged
  bool masked;       ///< something has been hidden from somebody since the last `for_each_tile`

  /// Calls body(begin, end) for the tiles of keys that the block can reach.
  template <class Body>
  void for_each_tile(const Body& body) {
    masked = false;
    const std::int64_t last_row = u.first_row + u.row_count - 1;
    const std::int64_t begin = reachable(u, u.first_row).begin, end = reachable(u, last_row).end;
    for (std::int64_t tile = begin / u.key_tile * u.key_tile; tile < end; tile += u.key_tile) {
      const std::int64_t from = tile < begin ? begin : tile;
      const std::int64_t to = tile + u.key_tile < end ? tile + u.key_tile : end;
      key = read_tile<V>(u.key, key_in_place, from, to, u.head_dim, key_copy);
      options.set_keys(key, from, to - from);
      body(from, to);
    }
  }

  /// The keys of a tile [begin, end) that rows of the panel can reach; false if there are none.
  bool reach(const Panel<T>& panel, std::int64_t begin, std::int64_t end, Keys<T>& keys) const {
    const std::int64_t first_row = u.first_row + panel.row;
    const std::int64_t last_row = first_row + panel.rows - 1;
    const KeyRange first = reachable(u, first_row), last = reachable(u, last_row);
    const std::int64_t from = clamp(first.begin, begin, end), to = clamp(last.end, begin, end);
    if (from >= to) return false;
    keys = {from, to - from, reinterpret_cast<const T*>(key.data + from * key.row_stride),
            key.row_stride / static_cast<std::ptrdiff_t>(sizeof(T)),
            from < last.begin || to > first.end};
    return true;
  }

  /// All keys of a tile [begin, end), whoever sees them.
  void whole_tile(std::int64_t begin, std::int64_t end, Keys<T>& keys) const {
    keys = {begin, end - begin, reinterpret_cast<const T*>(key.data + begin * key.row_stride),
            key.row_stride / static_cast<std::ptrdiff_t>(sizeof(T)), false};
  }

  /// S' of a panel against the keys, with `maximum` over the keys lane by lane. False if the mask
  /// hides every key from every row, so that nothing was done.
  bool scores(const Panel<T>& panel, const Keys<T>& keys, T* maximum) {
    const Seen seen = options.look(panel.row, panel.rows, keys.begin, keys.count);
    mixed = seen == Seen::some;
    if (seen != Seen::all) masked = true;
    if (seen == Seen::none) return false;
    if (keys.edged) edge.set(u, panel.row, panel.rows, panel.ld, keys.begin, keys.count);
    for (std::int64_t r = 0; r < panel.ld; ++r) maximum[r] = minus_infinity<V>();
    if (!keys.edged && seen == Seen::all && !options.any) {
      multiply<true>(panel, keys, maximum);
      return true;
    }
    masked |= keys.edged || u.bias.data;
    options.set_tile(panel.row, panel.rows, panel.ld, keys.begin, keys.count);
    multiply<false>(panel, keys, maximum);
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      used_keys(panel, keys, r, from, to);
      V::store(maximum + r,
               options.apply(St + r, panel.ld, r, from, to, keys.edged ? &edge : nullptr, mixed));
    }
    return true;
  }

  /// Makes the weights of what `scores` has just hidden -0.
  void mark_hidden(const Panel<T>& panel, const Keys<T>& keys) {
    options.set_tile(panel.row, panel.rows, panel.ld, keys.begin, keys.count);
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      used_keys(panel, keys, r, from, to);
      options.mark_hidden(St + r, panel.ld, r, from, to, keys.edged ? &edge : nullptr, mixed);
    }
  }

  /// The keys [from, to) of the tile whose scores count for the vector of rows from `r` on.
  void used_keys(const Panel<T>& panel, const Keys<T>& keys, std::int64_t r, std::int64_t& from,
                 std::int64_t& to) const {
    from = 0;
    to = keys.count;
    if (keys.edged) edge.used_keys(r, panel.ld, from, to);
  }

  /// `scores` shall also give the derivatives of the softcap, laid out as St.
  void keep_slopes(T* slopes) { options.keep_slopes(St, slopes); }

  /// 1 / |k| of the keys of the last `scores`, with cosine similarity.
  const T* inverse_key_norms() const { return options.inverse_key_norms(); }

 private:
  const ScoreUnit& u;
  ScoreOptions<V> options;
  bool key_in_place, mixed;
  Rows key;                       ///< the tile's keys where they can be read
  T *Qt, *key_copy, *query_copy;  ///< query_copy: one vector of rows, when they must be widened

  static void take(ScratchMemory& memory, const ScratchSizes& sizes, T*& queries, T*& tile,
                   T*& keys, T*& rows) {
    const std::int64_t width = round_up(sizes.head_dim, V::lanes);
    queries = memory.take<T>(sizes.head_dim * V::query_block);
    tile = memory.take<T>(sizes.key_tile * V::panel_rows);
    keys = memory.take<T>(sizes.key_tile * width);
    rows = memory.take<T>(V::lanes * width);
  }

  /// Panels of whole vectors that differ by at most one vector.
  void split_panels() {
    const std::int64_t vectors = (u.row_count + V::lanes - 1) / V::lanes;
    constexpr std::int64_t most = V::panel_rows / V::lanes;
    panel_count = static_cast<int>((vectors + most - 1) / most);
    for (int i = 0; i < panel_count; ++i) {
      const std::int64_t from = i * vectors / panel_count * V::lanes;
      const std::int64_t to = (i + 1) * vectors / panel_count * V::lanes;
      panels[i] = {from, (to < u.row_count ? to : u.row_count) - from, to - from,
                   Qt + from * u.head_dim};
    }
  }

  void pack(const Panel<T>& panel) {
    const bool alike = u.scale_step == 0 && !u.cosine;
    const reg common = V::set1(static_cast<T>(u.scale[0] * kLog2E));
    for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
      const std::int64_t count = panel.rows - r < V::lanes ? panel.rows - r : V::lanes;
      const char* rows[V::lanes];
      for (std::int64_t i = 0; i < count; ++i) {
        rows[i] = row_address(u.query, u.group, u.first_row + panel.row + r + i);
      }
      const std::ptrdiff_t stride = widen(rows, count);
      transpose_rows<V>(rows, count, stride, u.head_dim,
                        alike ? common : factors(panel, rows, stride, r, count), panel.Qt + r,
                        panel.ld);
    }
  }

  /// Puts copies of the compute type in place of rows of another; returns the column stride.
  std::ptrdiff_t widen(const char** rows, std::int64_t count) {
    if (u.query_storage == Storage::compute) return u.query.column_stride;
    const std::int64_t ld = round_up(u.head_dim, V::lanes);
    with_storage<V>(u.query_storage, [&]<class S>() {
      for (std::int64_t i = 0; i < count; ++i) {
        widen_row<V, S>(rows[i], u.query.column_stride, u.head_dim, V::set1(1), query_copy + i * ld,
                        ld);
        rows[i] = reinterpret_cast<const char*>(query_copy + i * ld);
      }
    });
    return sizeof(T);
  }

  /// What the queries of a vector of rows are multiplied by, where that differs.
  reg factors(const Panel<T>& panel, const char* const* rows, std::ptrdiff_t stride, std::int64_t r,
              std::int64_t count) const {
    alignas(64) T factor[V::lanes] = {};
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t head = (u.first_row + panel.row + r + i) % u.group;
      double scale = u.scale[head * u.scale_step] * kLog2E;
      if (u.cosine) scale *= inverse_norm<T>(rows[i], stride, u.head_dim);
      factor[i] = static_cast<T>(scale);
    }
    return V::load(factor);
  }

  /// S' = K Q'; with Track, also the maximum over the keys.
  template <bool Track>
  void multiply(const Panel<T>& panel, const Keys<T>& keys, T* maximum) {
    const std::int64_t vectors = panel.ld / V::lanes;
    const std::int64_t steps = (keys.count + V::score_keys - 1) / V::score_keys;
    [[maybe_unused]] std::int64_t step = 0;
    for_row_blocks<V::score_keys>(0, keys.count, [&]<int KEYS>(std::int64_t j) {
      if constexpr (!Track) options.prefetch(keys.count, step++, steps);
      std::int64_t from = 0, to = vectors;
      if (keys.edged) edge.visible_vectors(j, j + KEYS, from, to);
      for (std::int64_t v = from; v < to; v += V::score_vectors) {
        const std::int64_t r = v * V::lanes;
        score_vectors<V, KEYS, Track>(static_cast<int>(to - v), keys.K + j * keys.ldk, keys.ldk,
                                      panel.Qt + r, panel.ld, u.head_dim, St + j * panel.ld + r,
                                      maximum + r);
      }
    });
  }
};

}  // namespace
}  // namespace regard::kernels
