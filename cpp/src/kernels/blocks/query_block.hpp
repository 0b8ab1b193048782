// A block of query rows: packed in panels, scored against one tile of keys at a time.
//
//   pack Q' (head_dim x rows), times scale * log2(e)
//   for each tile of keys the block can reach (boundaries at absolute multiples of key_tile):
//       for each panel of query rows:
//           S' = K Q'    (keys x rows)    queries in the lanes; then the options, then the masks
//
// What is done with S' is up to the kernel: forward.hpp, weights.hpp, summary.hpp. How the product
// is formed, and queries and keys are laid out for it, is up to `Scores`: fma_products.hpp.
//
// A panel is what the register tiles and the L1 cache want; a block is several panels, so that a
// tile of keys is fetched (or gathered, when it cannot be read in place) once for all.
//
// Every lane goes through the same operations in the same order whatever the other lanes hold, and
// tiles start at absolute key positions, so a row's result does not depend on its block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/fma_products.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/scores/block_options.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/gemm.hpp"
#include "kernels/tiles/panel.hpp"
#include "kernels/tiles/reach.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

template <class V, class Scores = FmaScores<V>>
class QueryBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  static constexpr int most_panels = V::query_block / V::panel_rows;

  QueryBlock(const ScoreUnit& unit, ScratchMemory& memory)
      : St(memory.take<T>(score_count(unit.key_tile)) + spare),
        u(unit),
        options(unit, memory),
        product(unit, memory) {
    split_panels();
    for (int i = 0; i < panel_count; ++i) product.pack(panels[i]);
  }

  /// Counts the scratch memory that the constructor takes.
  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    memory.take<T>(score_count(sizes.key_tile));
    ScoreOptions<V>::count(memory, sizes.key_tile, sizes.score_mod);
    Scores::count(memory, sizes);
  }

  int panel_count;
  Panel<T> panels[most_panels];
  Rows key;  ///< the tile's keys where the product reads them, as T or in words of that size
  T* St;     ///< S' of one panel, at St[key * panel.ld + row]
  TileEdge<V> edge;  ///< of the panel and tile of the last call of `scores`, if edged
  bool masked;       ///< something has been hidden from somebody since the last `for_each_tile`

  /// Calls body(begin, end) for the tiles of keys that the block can reach.
  template <class Body>
  void for_each_tile(const Body& body) {
    for_each_tile(0, u.key_count, body);
  }

  /// The same for the keys [first, last).
  template <class Body>
  void for_each_tile(std::int64_t first, std::int64_t last, const Body& body) {
    masked = false;
    const std::int64_t last_row = u.first_row + u.row_count - 1;
    const std::int64_t begin = clamp(reachable(u, u.first_row).begin, first, last);
    const std::int64_t end = clamp(reachable(u, last_row).end, first, last);
    for (std::int64_t tile = begin / u.key_tile * u.key_tile; tile < end; tile += u.key_tile) {
      const std::int64_t from = tile < begin ? begin : tile;
      const std::int64_t to = tile + u.key_tile < end ? tile + u.key_tile : end;
      key = product.read(from, to);
      options.template set_keys<typename Scores::Key>(key, from, to - from);
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
    masked |= keys.edged || options.can_hide;
    options.set_tile(panel.row, panel.rows, panel.ld, keys.begin, keys.count);
    multiply<false>(panel, keys, maximum);
    if (options.by_tile) {
      options.apply_by_tile(
          St, panel.ld,
          [&](std::int64_t r, std::int64_t& from, std::int64_t& to) {
            used_keys(panel, keys, r, from, to);
          },
          keys.edged ? &edge : nullptr, mixed, maximum);
      return true;
    }
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

  /// Numbers that `keep_slopes` needs.
  static std::int64_t slope_count(std::int64_t key_tile) {
    return ScoreOptions<V>::slope_count(key_tile * V::panel_rows);
  }
  /// `scores` shall also give the slopes of the options.
  void keep_slopes(T* memory) { options.keep_slopes(St, memory, u.key_tile * V::panel_rows); }
  /// Those of the last `scores`.
  Slopes<V> slopes() { return options.slopes(); }

  /// The same of functions of the caller's, which are apart from the others.
  void want_tile_slopes() { options.want_tile_slopes(); }
  /// x, laid out as the scores, times those of the last `scores`; what is 0 stays so.
  void multiply_by_tile_slopes(const Panel<T>& panel, const Keys<T>& keys, T* x) {
    const T* slopes = options.tile_slopes();
    if (slopes == nullptr || x == nullptr) return;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from, to;
      used_keys(panel, keys, r, from, to);
      for (std::int64_t j = from; j < to; ++j) {
        const std::int64_t at = j * panel.ld + r;
        const reg before = V::load(x + at);
        const reg after = V::mul(before, V::load(slopes + at));
        V::store(x + at, V::select(V::equal(before, V::zero()), V::zero(), after));
      }
    }
  }

 private:
  const ScoreUnit& u;
  ScoreOptions<V> options;
  Scores product;
  bool mixed;

  static constexpr std::int64_t spare = Scores::spare_keys * V::panel_rows;
  static constexpr std::int64_t score_count(std::int64_t key_tile) {
    return key_tile * V::panel_rows + 2 * spare;
  }

  /// Panels of whole vectors that differ by at most one vector.
  void split_panels() {
    const std::int64_t vectors = (u.row_count + V::lanes - 1) / V::lanes;
    constexpr std::int64_t most = V::panel_rows / V::lanes;
    panel_count = static_cast<int>((vectors + most - 1) / most);
    for (int i = 0; i < panel_count; ++i) {
      const std::int64_t from = i * vectors / panel_count * V::lanes;
      const std::int64_t to = (i + 1) * vectors / panel_count * V::lanes;
      panels[i] = {from, (to < u.row_count ? to : u.row_count) - from, to - from, nullptr};
    }
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
        product.template multiply<KEYS, Track>(panel, r, to - v, keys.K + j * keys.ldk, keys.ldk,
                                               St + j * panel.ld + r, maximum + r);
      }
    });
  }
};

}  // namespace
}  // namespace regard::kernels
