// Forward attention for one block of query rows: O = softmax(scale Q K' + bias, masked) V.
//
//   pack Q' (head_dim x rows), times scale * log2(e)
//   for each tile of keys the block can reach (boundaries at absolute multiples of key_tile):
//       for each panel of query rows:
//           S' = K Q'                     (keys x rows)    queries in the lanes
//           add the bias, mask; m follows the maximum
//           P' = 2^(S' - m),  l += sum P'
//           O += P V
//   out = O / l,  lse = ln 2 (m + log2 l)
//
// A panel is what the register tiles and the L1 cache want; a block is several panels, so that a
// tile of keys and values is fetched (or gathered, when it cannot be read in place) once for all.
//
// Every lane goes through the same operations in the same order whatever the other lanes hold, and
// tiles start at absolute key positions, so a row's result does not depend on its block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "forward_scratch.hpp"
#include "gemm.hpp"
#include "kernel_api.hpp"
#include "output.hpp"
#include "pack.hpp"
#include "score.hpp"
#include "score_block.hpp"
#include "softmax.hpp"
#include "unroll.hpp"

namespace regard::kernels {
namespace {

template <class V>
class ForwardBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

  /// Rows [row, row + rows) of the block, in `ld` lanes.
  struct Panel {
    std::int64_t row, rows, ld;
    T *Qt, *O, *m, *l;
    const char* const* mask;
    const char* const* bias;
  };

  /// Keys [begin, begin + count) of a tile, for one panel.
  struct Keys {
    std::int64_t begin, count;
    const T *K, *Vt;
    std::ptrdiff_t ldk, ldv;
    bool edged;  ///< some row of the panel does not see some of them
    bool first;  ///< the panel's first: O is written rather than added to
  };

 public:
  explicit ForwardBlock(const ForwardUnit& unit) : u(unit) {
    scratch.carve(u.scratch, u.head_dim, u.value_dim, u.key_tile);
    columns = round_up(u.value_dim, V::lanes);
    key_in_place = readable_in_place<T>(u.key);
    value_in_place = readable_in_place<T>(u.value) && columns == u.value_dim;
    split_panels();
  }

  void run() {
    for (int i = 0; i < panel_count; ++i) pack_panel(panels[i]);
    attend(false);
    // 0 * NaN is NaN: a non-finite value at a masked position shows in O. That is rare, so it is
    // looked for in the result and the block done again with masked values left out.
    if (masked && !all_finite<V>(scratch.O, u.row_count * columns)) attend(true);
    write_output<V>(u, scratch.O, columns, m, l);
  }

 private:
  static constexpr int most_panels = V::query_block / V::panel_rows;

  const ForwardUnit& u;
  ForwardScratch<V> scratch;
  std::int64_t columns;
  bool key_in_place, value_in_place, masked;
  int panel_count;
  Panel panels[most_panels];
  bool started[most_panels];
  const char* mask_rows[V::query_block];
  const char* bias_rows[V::query_block];
  alignas(64) T m[V::query_block];
  alignas(64) T l[V::query_block];
  TileEdge<V> edge;

  /// Panels of whole vectors that differ by at most one vector.
  void split_panels() {
    const std::int64_t vectors = (u.row_count + V::lanes - 1) / V::lanes;
    constexpr std::int64_t most = V::panel_rows / V::lanes;
    panel_count = static_cast<int>((vectors + most - 1) / most);
    for (int i = 0; i < panel_count; ++i) {
      const std::int64_t from = i * vectors / panel_count * V::lanes;
      const std::int64_t to = (i + 1) * vectors / panel_count * V::lanes;
      panels[i] = {from,
                   (to < u.row_count ? to : u.row_count) - from,
                   to - from,
                   scratch.Qt + from * u.head_dim,
                   scratch.O + from * columns,
                   m + from,
                   l + from,
                   mask_rows + from,
                   bias_rows + from};
    }
  }

  void pack_panel(const Panel& panel) {
    const char* rows[V::panel_rows];
    for (std::int64_t r = 0; r < panel.rows; ++r) {
      const std::int64_t row = u.first_row + panel.row + r;
      rows[r] = row_address(u.query, u.group, row);
      if (u.mask.data) mask_rows[panel.row + r] = row_address(u.mask, u.group, row);
      if (u.bias.data) bias_rows[panel.row + r] = row_address(u.bias, u.group, row);
    }
    const T factor = static_cast<T>(u.scale * kLog2E);
    for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
      transpose_rows<V>(rows + r, panel.rows - r, u.query.column_stride, u.head_dim, factor,
                        panel.Qt + r, panel.ld);
    }
  }

  void attend(bool careful) {
    masked = false;
    for (int i = 0; i < panel_count; ++i) {
      started[i] = false;
      for (std::int64_t r = 0; r < panels[i].ld; ++r) {
        panels[i].m[r] = minus_infinity<V>();
        panels[i].l[r] = 0;
      }
    }
    const std::int64_t last_row = u.first_row + u.row_count - 1;
    const std::int64_t begin = reachable(u, u.first_row).begin, end = reachable(u, last_row).end;
    for (std::int64_t tile = begin / u.key_tile * u.key_tile; tile < end; tile += u.key_tile) {
      attend_tile(tile < begin ? begin : tile, tile + u.key_tile < end ? tile + u.key_tile : end,
                  careful);
    }
    for (int i = 0; i < panel_count; ++i) {
      if (started[i]) continue;  // nothing reachable
      for (std::int64_t j = 0; j < panels[i].rows * columns; ++j) panels[i].O[j] = 0;
    }
  }

  void attend_tile(std::int64_t begin, std::int64_t end, bool careful) {
    const Rows key = key_in_place ? u.key : gather(u.key, begin, end, u.head_dim, scratch.K);
    const Rows value =
        value_in_place ? u.value : gather(u.value, begin, end, u.value_dim, scratch.V_);
    for (int i = 0; i < panel_count; ++i) {
      const std::int64_t first_row = u.first_row + panels[i].row;
      const std::int64_t last_row = first_row + panels[i].rows - 1;
      const KeyRange first = reachable(u, first_row), last = reachable(u, last_row);
      const std::int64_t from = clamp(first.begin, begin, end), to = clamp(last.end, begin, end);
      if (from >= to) continue;
      const bool edged = from < last.begin || to > first.end;  // not seen by all rows
      const Keys keys = {from,
                         to - from,
                         reinterpret_cast<const T*>(key.data + from * key.row_stride),
                         reinterpret_cast<const T*>(value.data + from * value.row_stride),
                         key.row_stride / static_cast<std::ptrdiff_t>(sizeof(T)),
                         value.row_stride / static_cast<std::ptrdiff_t>(sizeof(T)),
                         edged,
                         !started[i]};
      if (attend_panel(panels[i], keys, careful)) started[i] = true;
    }
  }

  /// Keys or values [begin, end) copied to where they can be read, addressed as before.
  Rows gather(const Rows& rows, std::int64_t begin, std::int64_t end, std::int64_t width, T* to) {
    const std::int64_t ld = round_up(width, V::lanes);
    copy_rows<T>(rows, begin, end - begin, width, to, ld);
    const std::ptrdiff_t stride = ld * static_cast<std::ptrdiff_t>(sizeof(T));
    return {reinterpret_cast<char*>(to) - begin * stride, 0, stride, sizeof(T)};
  }

  /// False if the mask hides every key from every row, so that nothing was done.
  bool attend_panel(const Panel& panel, const Keys& keys, bool careful) {
    bool mixed = false;
    if (u.mask.data) {
      const MaskTile seen = inspect_mask(panel.mask, panel.rows, u.mask.column_stride, keys.begin,
                                         keys.begin + keys.count);
      if (seen != MaskTile::all) masked = true;
      if (seen == MaskTile::none) return false;
      mixed = seen == MaskTile::mixed;
    }
    if (keys.edged) edge.set(u, panel.row, panel.rows, panel.ld, keys.begin, keys.count);
    alignas(64) T maximum[V::panel_rows];
    if (!keys.edged && !mixed && !u.bias.data) {
      scores<true>(panel, keys, maximum);
    } else {
      masked = true;
      scores<false>(panel, keys, maximum);
      transform_scores(panel, keys, mixed, maximum);
    }
    softmax(panel, keys, careful, maximum);
    values(panel, keys, careful);
    return true;
  }

  /// S' = K Q'; with Track, also the maximum over the keys.
  template <bool Track>
  void scores(const Panel& panel, const Keys& keys, T* maximum) {
    const std::int64_t vectors = panel.ld / V::lanes;
    for (std::int64_t r = 0; r < panel.ld; ++r) maximum[r] = minus_infinity<V>();
    for_row_blocks<V::score_keys>(0, keys.count, [&]<int KEYS>(std::int64_t j) {
      if (u.bias.data) prefetch_bias(panel, keys.begin + j, KEYS);
      std::int64_t from = 0, to = vectors;
      if (keys.edged) edge.visible_vectors(j, j + KEYS, from, to);
      for (std::int64_t v = from; v < to; v += V::score_vectors) {
        const std::int64_t r = v * V::lanes;
        score_vectors<V, KEYS, Track>(static_cast<int>(to - v), keys.K + j * keys.ldk, keys.ldk,
                                      panel.Qt + r, panel.ld, u.head_dim,
                                      scratch.St + j * panel.ld + r, maximum + r);
      }
    });
  }

  /// The bias of keys whose scores are being computed is wanted next. Its rows lie far apart, so no
  /// hardware prefetcher finds them.
  void prefetch_bias(const Panel& panel, std::int64_t key, std::int64_t count) const {
    for (std::int64_t r = 0; r < panel.rows; ++r) {
      if (r > 0 && panel.bias[r] == panel.bias[r - 1]) continue;  // broadcast along the queries
      __builtin_prefetch(panel.bias[r] + (key + count - 1) * u.bias.column_stride);
    }
  }

  /// Bias and masks on S', and the maximum of what is left.
  void transform_scores(const Panel& panel, const Keys& keys, bool mixed, T* maximum) {
    ScoreBlock<V> block(u, keys.edged ? &edge : nullptr, mixed);
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) edge.used_keys(r, panel.ld, from, to);
      block.set_rows(panel.bias, panel.mask, r, panel.rows, keys.begin);
      reg running = V::set1(minus_infinity<V>());
      for (std::int64_t j = from; j < to; j += block.keys) {
        const std::int64_t end = j + block.keys < to ? j + block.keys : to;
        running = block.transform(scratch.St + r, panel.ld, j, end, running);
      }
      V::store(maximum + r, running);
    }
  }

  /// S' becomes P'; m, l and O follow.
  void softmax(const Panel& panel, const Keys& keys, bool careful, const T* maximum) {
    alignas(64) T alpha[V::panel_rows];
    bool moved = false;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      moved |= raise_reference<V>(V::load(maximum + r), panel.m + r, alpha + r);
    }
    if (moved && !keys.first) {
      for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
        V::store(panel.l + r, V::mul(V::load(panel.l + r), V::load(alpha + r)));
      }
      rescale_rows<V>(panel.O, columns, panel.rows, alpha);
    }
    if (careful) {
      weigh<true>(panel, keys);
    } else {
      weigh<false>(panel, keys);
    }
  }

  /// P' = 2^(S' - m); at an edge, vector by vector over the keys that are used.
  template <bool Mark>
  void weigh(const Panel& panel, const Keys& keys) {
    if (!keys.edged) {
      tile_weights<V, Mark>(panel.ld / V::lanes, scratch.St, panel.ld, keys.count, panel.m,
                            panel.l);
      return;
    }
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      std::int64_t from = 0, to = keys.count;
      edge.used_keys(r, panel.ld, from, to);
      weights_block<V, 1, Mark>(scratch.St + from * panel.ld + r, panel.ld, to - from, panel.m + r,
                                panel.l + r);
    }
  }

  /// O += P V over the keys that the rows can see.
  void values(const Panel& panel, const Keys& keys, bool careful) {
    if (careful) {
      for (std::int64_t r = 0; r < panel.rows; ++r) {
        std::int64_t from = 0, to = keys.count;
        if (keys.edged) edge.visible_keys(r, r, from, to);
        careful_values<V>(scratch.St + from * panel.ld + r, panel.ld, keys.Vt + from * keys.ldv,
                          keys.ldv, to - from, keys.first, panel.O + r * columns, columns);
      }
      return;
    }
    for (std::int64_t c = 0; c < columns;) {
      const int width = column_block((columns - c) / V::lanes, V::out_vectors);
      value_columns(width, panel, keys, c);
      c += width * V::lanes;
    }
  }

  /// One block of columns of O, `width` vectors wide. Narrower blocks take more rows, so that as
  /// many accumulators stay in flight.
  template <int VECTORS = V::out_vectors>
  void value_columns(int width, const Panel& panel, const Keys& keys, std::int64_t c) {
    if constexpr (VECTORS > 1) {
      if (width < VECTORS) return value_columns<VECTORS - 1>(width, panel, keys, c);
    }
    constexpr int rows = V::out_rows * V::out_vectors / VECTORS;
    constexpr int most_rows = rows < kMostOutRows ? rows : kMostOutRows;
    for_row_blocks<most_rows>(0, panel.rows, [&]<int ROWS>(std::int64_t r) {
      std::int64_t from = 0, to = keys.count;
      if (keys.edged) edge.visible_keys(r, r + ROWS - 1, from, to);
      value_block<V, ROWS, VECTORS>(scratch.St + from * panel.ld + r, panel.ld,
                                    keys.Vt + from * keys.ldv + c, keys.ldv, to - from, keys.first,
                                    panel.O + r * columns + c, columns);
    });
  }
};

template <class V>
void forward(const ForwardUnit& unit) {
  ForwardBlock<V>(unit).run();
}

template <class V>
constexpr ForwardKernel forward_kernel() {
  return {forward<V>,    forward_scratch_bytes<V>, V::lanes,
          V::panel_rows, V::query_block,           V::key_tile};
}

}  // namespace
}  // namespace regard::kernels
