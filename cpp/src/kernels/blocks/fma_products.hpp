// The two products of a tile by FMAs of the compute type. Keys and values are read in place where
// that is possible; what is kept in a smaller type is widened, tile by tile.
//
// QueryBlock and ForwardBlock take their products as parameters: dot_products.hpp has others.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/scale.hpp"
#include "kernels/softmax/online_softmax.hpp"
#include "kernels/softmax/softmax.hpp"
#include "kernels/tiles/gemm.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/panel.hpp"
#include "kernels/tiles/scratch_memory.hpp"
#include "kernels/tiles/stored_rows.hpp"

namespace regard::kernels {
namespace {

/// S' = K Q', with the queries packed times their scales.
template <class V>
class FmaScores {
  using T = typename V::scalar;

 public:
  using Key = T;                                 ///< element of a tile of keys
  static constexpr std::int64_t spare_keys = 0;  ///< rows of S' that are wanted before and after

  FmaScores(const ScoreUnit& unit, ScratchMemory& memory) : u(unit) {
    take(memory, {u.head_dim, 0, u.key_tile, 0, false}, queries, key_copy, query_copy);
    in_place = readable_in_place<T>(u.key);
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    T *a, *b, *c;
    take(memory, sizes, a, b, c);
  }

  void pack(Panel<T>& panel) {
    panel.Qt = queries + panel.row * u.head_dim;
    for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
      const std::int64_t count = panel.rows - r < V::lanes ? panel.rows - r : V::lanes;
      const char* rows[V::lanes];
      query_rows(u, panel.row + r, count, rows);
      const std::ptrdiff_t stride = widen(rows, count);
      const auto factors = query_factors<V, T>(u, panel.row + r, count, rows, stride);
      transpose_rows<V>(rows, count, stride, u.head_dim, factors, panel.Qt + r, panel.ld);
    }
  }

  /// The keys [begin, end), where `multiply` can read them.
  Rows read(std::int64_t begin, std::int64_t end) {
    return read_tile<V>(u.key, in_place, begin, end, u.head_dim, key_copy);
  }

  /// S' of KEYS keys from K on against `vectors` vectors of rows, at most V::score_vectors,
  /// from `r` on; with Track, also the maximum over the keys.
  template <int KEYS, bool Track>
  void multiply(const Panel<T>& panel, std::int64_t r, std::int64_t vectors, const T* K,
                std::ptrdiff_t ldk, T* St, T* maximum) const {
    score_vectors<V, KEYS, Track>(static_cast<int>(vectors), K, ldk, panel.Qt + r, panel.ld,
                                  u.head_dim, St, maximum);
  }

 private:
  const ScoreUnit& u;
  bool in_place;
  T *queries, *key_copy, *query_copy;  ///< query_copy: one vector of rows, when they are widened

  static void take(ScratchMemory& memory, const ScratchSizes& sizes, T*& packed, T*& keys,
                   T*& rows) {
    const std::int64_t width = round_up(sizes.head_dim, V::lanes);
    packed = memory.take<T>(sizes.head_dim * V::query_block);
    keys = memory.take<T>(sizes.key_tile * width);
    rows = memory.take<T>(V::lanes * width);
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
};

/// O += P V, with the values as they are.
template <class V>
class FmaValues {
  using T = typename V::scalar;

 public:
  static constexpr std::int64_t step = 1;  ///< keys that are multiplied together

  FmaValues(const ForwardUnit& unit, ScratchMemory& memory)
      : stored(unit.value), width(unit.value_dim) {
    take(memory, {0, width, unit.scores.key_tile, 0, false}, copy);
    in_place = readable_in_place<T>(stored) && width % V::lanes == 0;
    in_key = unit.value_in_key && round_up(width, V::lanes) <= unit.scores.head_dim;
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    T* values;
    take(memory, sizes, values);
  }

  /// Makes the values of the keys [begin, end) those that the next calls are about. `keys` are the
  /// tile as FmaScores reads it, whose first columns may be the values.
  void read(std::int64_t begin, std::int64_t end, const Rows& keys) {
    tile = in_key ? keys : read_tile<V>(stored, in_place, begin, end, width, copy);
  }

  /// ROWS rows x VECTORS vectors of O, from column c on, over the keys [from, to) of `keys`. Pt is
  /// the first row's weight of the first of `keys`.
  template <int ROWS, int VECTORS>
  void add(const T* Pt, std::ptrdiff_t ld, const Keys<T>& keys, std::int64_t from, std::int64_t to,
           std::int64_t c, bool overwrite, T* O, std::ptrdiff_t ldo) const {
    value_block<V, ROWS, VECTORS>(Pt + from * ld, ld, row(keys.begin + from) + c, row_length(),
                                  to - from, overwrite, O, ldo);
  }

  /// One row of O that leaves out the values of hidden weights.
  void add_carefully(const T* Pt, std::ptrdiff_t ld, const Keys<T>& keys, std::int64_t from,
                     std::int64_t to, bool overwrite, T* O, std::int64_t columns) const {
    careful_values<V>(Pt + from * ld, ld, row(keys.begin + from), row_length(), to - from,
                      overwrite, O, columns);
  }

 private:
  StoredRows stored;
  std::int64_t width;
  bool in_place, in_key;
  Rows tile;
  T* copy;

  static void take(ScratchMemory& memory, const ScratchSizes& sizes, T*& values) {
    values = memory.take<T>(sizes.key_tile * round_up(sizes.value_dim, V::lanes));
  }

  const T* row(std::int64_t j) const {
    return reinterpret_cast<const T*>(tile.data + j * tile.row_stride);
  }
  std::ptrdiff_t row_length() const {
    return tile.row_stride / static_cast<std::ptrdiff_t>(sizeof(T));
  }
};

template <class V>
struct FmaProducts {
  using Scores = FmaScores<V>;
  using Softmax = OnlineSoftmax<V>;
  using Values = FmaValues<V>;
};

}  // namespace
}  // namespace regard::kernels
