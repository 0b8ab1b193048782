// Forward attention for one block of query rows: O = softmax(scale Q K' + bias, masked) V.
//
//   pack Q' (head_dim x rows), times scale * log2(e)
//   for each tile of keys the block can reach (boundaries at absolute multiples of key_tile):
//       S' = K Q'                     (keys x rows)    queries in the lanes
//       add the bias, mask; m follows the maximum
//       P' = 2^(S' - m),  l += sum P'
//       O += P V
//   out = O / l,  lse = ln 2 (m + log2 l)
//
// Every lane goes through the same operations in the same order whatever the other lanes hold, and
// tiles start at absolute key positions, so a row's result does not depend on its block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gemm.hpp"
#include "kernel_api.hpp"
#include "pack.hpp"
#include "score.hpp"
#include "softmax.hpp"
#include "unroll.hpp"

namespace regard::kernels {
namespace {

inline std::int64_t round_up(std::int64_t x, std::int64_t step) {
  return (x + step - 1) / step * step;
}

/// The scratch of a block, carved from one allocation; every array starts on a cache line.
template <class V>
struct ForwardScratch {
  using T = typename V::scalar;
  static constexpr std::int64_t block = V::query_block;
  T *Qt, *St, *O, *K, *V_, *bias;
  std::uint8_t* mask;

  /// Returns the bytes used; with a null `memory` only counts them.
  std::size_t carve(void* memory, std::int64_t head_dim, std::int64_t value_dim,
                    std::int64_t key_tile) {
    std::size_t used = 0;
    const auto take = [&](std::int64_t bytes) {
      char* at = static_cast<char*>(memory) + used;
      used += static_cast<std::size_t>(round_up(bytes, 64));
      return at;
    };
    const std::int64_t size = sizeof(T), columns = round_up(value_dim, V::lanes);
    Qt = reinterpret_cast<T*>(take(head_dim * block * size));
    St = reinterpret_cast<T*>(take(key_tile * block * size));
    O = reinterpret_cast<T*>(take(block * columns * size));
    K = reinterpret_cast<T*>(take(key_tile * head_dim * size));
    V_ = reinterpret_cast<T*>(take(key_tile * columns * size));
    bias = reinterpret_cast<T*>(take(key_tile * block * size));
    mask = reinterpret_cast<std::uint8_t*>(take(key_tile * (block + mask_slack)));
    return used;
  }

  /// transpose_bytes stores 16 rows at a time, more than a vector may have.
  static constexpr std::int64_t mask_slack = 16;
};

template <class V>
class ForwardBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  explicit ForwardBlock(const ForwardUnit& unit) : u(unit) {
    scratch.carve(u.scratch, u.head_dim, u.value_dim, u.key_tile);
    vectors = (u.row_count + V::lanes - 1) / V::lanes;
    ld = vectors * V::lanes;
    columns = round_up(u.value_dim, V::lanes);
    key_in_place = readable_in_place<T>(u.key);
    value_in_place = readable_in_place<T>(u.value) && columns == u.value_dim;
  }

  void run() {
    pack_queries();
    attend(false);
    // 0 * NaN is NaN: a non-finite value at a masked position shows in O. That is rare, so it is
    // looked for in the result and the block done again with masked values left out.
    if (masked && !finite_output()) attend(true);
    write_output();
  }

 private:
  const ForwardUnit& u;
  ForwardScratch<V> scratch;
  std::int64_t vectors, ld, columns;
  bool key_in_place, value_in_place;
  bool first_tile, masked;
  const char* mask_rows[V::query_block];
  const char* bias_rows[V::query_block];
  alignas(64) T m[V::query_block];
  alignas(64) T l[V::query_block];
  TileEdge<V> edge;

  void pack_queries() {
    const char* rows[V::query_block];
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      rows[r] = row_address(u.query, u.group, u.first_row + r);
      if (u.mask.data) mask_rows[r] = row_address(u.mask, u.group, u.first_row + r);
      if (u.bias.data) bias_rows[r] = row_address(u.bias, u.group, u.first_row + r);
    }
    const T factor = static_cast<T>(u.scale * kLog2E);
    for (std::int64_t r = 0; r < u.row_count; r += V::lanes) {
      transpose_rows<V>(rows + r, u.row_count - r, u.query.column_stride, u.head_dim, factor,
                        scratch.Qt + r, ld);
    }
  }

  void attend(bool careful) {
    for (std::int64_t r = 0; r < ld; ++r) {
      m[r] = minus_infinity<V>();
      l[r] = 0;
    }
    first_tile = true;
    masked = false;
    const std::int64_t last_row = u.first_row + u.row_count - 1;
    const std::int64_t begin = reachable(u, u.first_row).begin, end = reachable(u, last_row).end;
    // Every row of the block sees all of [full_begin, full_end).
    const std::int64_t full_begin = reachable(u, last_row).begin;
    const std::int64_t full_end = reachable(u, u.first_row).end;
    for (std::int64_t start = begin / u.key_tile * u.key_tile; start < end; start += u.key_tile) {
      const std::int64_t from = start < begin ? begin : start;
      const std::int64_t to = start + u.key_tile < end ? start + u.key_tile : end;
      tile(from, to, from < full_begin || to > full_end, careful);
    }
    if (first_tile) {  // nothing reachable
      for (std::int64_t i = 0; i < u.row_count * columns; ++i) scratch.O[i] = 0;
    }
  }

  void tile(std::int64_t begin, std::int64_t end, bool edged, bool careful) {
    bool mixed = false;
    if (u.mask.data) {
      const MaskTile seen =
          inspect_mask(mask_rows, u.row_count, u.mask.column_stride, begin, end);
      if (seen != MaskTile::all) masked = true;
      if (seen == MaskTile::none) return;
      mixed = seen == MaskTile::mixed;
    }
    if (edged) edge.set(u, ld, begin, end);
    masked |= edged || u.bias.data;

    const std::int64_t keys = end - begin;
    alignas(64) T maximum[V::query_block];
    if (!edged && !mixed && !u.bias.data) {
      scores<true>(begin, keys, false, maximum);
    } else {
      scores<false>(begin, keys, edged, maximum);
      transform_scores(begin, keys, edged, mixed, maximum);
    }
    softmax(keys, careful, maximum);
    values(begin, keys, edged, careful);
    first_tile = false;
  }

  /// S' = K Q'; with Track, also the maximum over the keys.
  template <bool Track>
  void scores(std::int64_t begin, std::int64_t keys, bool edged, T* maximum) {
    const T* K = reinterpret_cast<const T*>(u.key.data + begin * u.key.row_stride);
    std::ptrdiff_t ldk = u.key.row_stride / static_cast<std::ptrdiff_t>(sizeof(T));
    if (!key_in_place) {
      copy_rows<T>(u.key, begin, keys, u.head_dim, scratch.K, u.head_dim);
      K = scratch.K;
      ldk = u.head_dim;
    }
    reg running[V::query_block / V::lanes];
    for (std::int64_t v = 0; v < vectors; ++v) running[v] = V::set1(minus_infinity<V>());
    for_row_blocks<V::score_keys>(0, keys, [&]<int KEYS>(std::int64_t j) {
      std::int64_t from = 0, to = vectors;
      if (edged) visible_vectors(j, j + KEYS, from, to);
      for (std::int64_t v = from; v < to; v += V::score_vectors) {
        score_vectors<V, KEYS, Track>(static_cast<int>(to - v), K + j * ldk, ldk,
                                      scratch.Qt + v * V::lanes, ld, u.head_dim,
                                      scratch.St + j * ld + v * V::lanes, running + v);
      }
    });
    if constexpr (Track) {
      for (std::int64_t v = 0; v < vectors; ++v) V::store(maximum + v * V::lanes, running[v]);
    }
  }

  /// The vectors [from, to) with a row that sees one of the keys [begin, end) of the tile; the
  /// others are not computed, and masked by transform_scores whatever S' holds there.
  void visible_vectors(std::int64_t begin, std::int64_t end, std::int64_t& from,
                       std::int64_t& to) const {
    while (from < to && edge.last[(from + 1) * V::lanes - 1] < static_cast<T>(begin)) ++from;
    while (from < to && edge.first[(to - 1) * V::lanes] >= static_cast<T>(end)) --to;
  }

  /// Bias and masks on S', and the maximum of what is left.
  void transform_scores(std::int64_t begin, std::int64_t keys, bool edged, bool mixed, T* maximum) {
    const std::int64_t ldm = ld + ForwardScratch<V>::mask_slack;
    for (std::int64_t r = 0; r < u.row_count; r += V::lanes) {
      const std::int64_t rows = u.row_count - r;
      if (u.bias.data) gather_bias(r, rows, begin, keys);
      if (mixed) gather_mask(r, rows, begin, keys, ldm);
    }
    const reg minus_inf = V::set1(minus_infinity<V>());
    for (std::int64_t r = 0; r < ld; r += V::lanes) {
      reg running = minus_inf;
      for (std::int64_t j = 0; j < keys; ++j) {
        T* at = scratch.St + j * ld + r;
        reg s = V::load(at);
        if (u.bias.data) s = add_bias<V>(s, V::load(scratch.bias + j * ld + r));
        if (mixed) s = V::select(V::nonzero_bytes(scratch.mask + j * ldm + r), s, minus_inf);
        if (edged) s = mask_edge<V>(s, edge, r, static_cast<T>(j));
        V::store(at, s);
        running = V::max(running, s);
      }
      V::store(maximum + r, running);
    }
  }

  /// bias[j][r] of the scratch = bias row r at key begin + j, read where it lies.
  void gather_bias(std::int64_t r, std::int64_t rows, std::int64_t begin, std::int64_t keys) {
    const char* addresses[V::lanes];
    const std::int64_t count = rows < V::lanes ? rows : V::lanes;
    for (std::int64_t i = 0; i < count; ++i) {
      addresses[i] = bias_rows[r + i] + begin * u.bias.column_stride;
    }
    transpose_rows<V>(addresses, rows, u.bias.column_stride, keys, T(1), scratch.bias + r, ld);
  }

  void gather_mask(std::int64_t r, std::int64_t rows, std::int64_t begin, std::int64_t keys,
                   std::int64_t ldm) {
    const char* addresses[V::lanes];
    const std::int64_t count = rows < V::lanes ? rows : V::lanes;
    for (std::int64_t i = 0; i < count; ++i) {
      addresses[i] = mask_rows[r + i] + begin * u.mask.column_stride;
    }
    transpose_mask<V>(addresses, count, u.mask.column_stride, keys, scratch.mask + r, ldm);
  }

  /// S' becomes P'; m, l and O follow.
  void softmax(std::int64_t keys, bool careful, const T* maximum) {
    alignas(64) T alpha[V::query_block];
    bool moved = false;
    for (std::int64_t r = 0; r < ld; r += V::lanes) {
      moved |= raise_reference<V>(V::load(maximum + r), m + r, alpha + r);
    }
    if (moved && !first_tile) {
      for (std::int64_t r = 0; r < ld; r += V::lanes) {
        V::store(l + r, V::mul(V::load(l + r), V::load(alpha + r)));
      }
      rescale_rows<V>(scratch.O, columns, u.row_count, alpha);
    }
    if (careful) {
      tile_weights<V, true>(vectors, scratch.St, ld, keys, m, l);
    } else {
      tile_weights<V, false>(vectors, scratch.St, ld, keys, m, l);
    }
  }

  /// O += P V over the keys that the rows can see.
  void values(std::int64_t begin, std::int64_t keys, bool edged, bool careful) {
    const T* Vt = reinterpret_cast<const T*>(u.value.data + begin * u.value.row_stride);
    std::ptrdiff_t ldv = u.value.row_stride / static_cast<std::ptrdiff_t>(sizeof(T));
    if (!value_in_place) {
      copy_rows<T>(u.value, begin, keys, u.value_dim, scratch.V_, columns);
      Vt = scratch.V_;
      ldv = columns;
    }
    if (careful) {
      careful_values<V>(scratch.St, ld, Vt, ldv, keys, u.row_count, first_tile, scratch.O, columns);
      return;
    }
    for (std::int64_t c = 0; c < columns;) {
      const int width = column_block((columns - c) / V::lanes, V::out_vectors);
      value_columns(width, Vt + c, ldv, keys, edged, scratch.O + c);
      c += width * V::lanes;
    }
  }

  /// One block of columns of O, `width` vectors wide. Narrower blocks take more rows, so that as
  /// many accumulators stay in flight.
  template <int VECTORS = V::out_vectors>
  void value_columns(int width, const T* Vt, std::ptrdiff_t ldv, std::int64_t keys, bool edged,
                     T* O) {
    if constexpr (VECTORS > 1) {
      if (width < VECTORS) return value_columns<VECTORS - 1>(width, Vt, ldv, keys, edged, O);
    }
    constexpr int rows = V::out_rows * V::out_vectors / VECTORS;
    constexpr int most_rows = rows < 12 ? rows : 12;
    for_row_blocks<most_rows>(0, u.row_count, [&]<int ROWS>(std::int64_t r) {
      std::int64_t from = 0, to = keys;
      if (edged) {
        from = static_cast<std::int64_t>(edge.first[r]);
        to = static_cast<std::int64_t>(edge.last[r + ROWS - 1]) + 1;
      }
      value_block<V, ROWS, VECTORS>(scratch.St + from * ld + r, ld, Vt + from * ldv, ldv, to - from,
                                    first_tile, O + r * columns, columns);
    });
  }

  /// False if a NaN or an Inf is among the unnormalised outputs: 0 * x is NaN for both.
  bool finite_output() const {
    reg sum = V::zero();
    for (std::int64_t i = 0; i < u.row_count * columns; i += V::lanes) {
      sum = V::fma(V::load(scratch.O + i), V::zero(), sum);
    }
    T lanes[V::lanes];
    V::store(lanes, sum);
    bool finite = true;
    for (const T x : lanes) finite &= x == 0;
    return finite;
  }

  void write_output() {
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      const std::int64_t row = u.first_row + r;
      T* O = scratch.O + r * columns;
      T factor = 1 / l[r];
      if (l[r] == 0) {
        // Nothing weighed anything: 0 if the masks say so, NaN if the scores were -inf.
        factor = sees_a_key<T>(u, row) ? static_cast<T>(__builtin_nan("")) : 0;
        for (std::int64_t c = 0; c < columns; ++c) O[c] = 0;
      }
      const reg inverse = V::set1(factor);
      for (std::int64_t c = 0; c < columns; c += V::lanes) {
        V::store(O + c, V::mul(V::load(O + c), inverse));
      }
      char* to = row_address(u.out, u.group, row);
      if (contiguous_columns<T>(u.out)) {
        __builtin_memcpy(to, O, static_cast<std::size_t>(u.value_dim) * sizeof(T));
      } else {
        for (std::int64_t c = 0; c < u.value_dim; ++c) {
          __builtin_memcpy(to + c * u.out.column_stride, O + c, sizeof(T));
        }
      }
      if (u.lse.data) write_lse(row, m[r], l[r], factor);
    }
  }

  void write_lse(std::int64_t row, T reference, T sum, T factor) const {
    double lse = kLn2 * static_cast<double>(reference) + __builtin_log(static_cast<double>(sum));
    if (sum == 0) lse = factor == 0 ? -__builtin_inf() : __builtin_nan("");
    const T rounded = static_cast<T>(lse);
    __builtin_memcpy(row_address(u.lse, u.group, row), &rounded, sizeof rounded);
  }
};

template <class V>
void forward(const ForwardUnit& unit) {
  ForwardBlock<V>(unit).run();
}

template <class V>
std::size_t forward_scratch_bytes(std::int64_t head_dim, std::int64_t value_dim,
                                  std::int64_t key_tile) {
  ForwardScratch<V> scratch;
  return scratch.carve(nullptr, head_dim, value_dim, key_tile);
}

template <class V>
constexpr ForwardKernel forward_kernel() {
  return {forward<V>, forward_scratch_bytes<V>, V::lanes, V::query_block, V::key_tile};
}

}  // namespace
}  // namespace regard::kernels
