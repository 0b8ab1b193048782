// The two products of a tile by dot products of pairs of bfloat16, summed in float, for queries,
// keys and values that are all bfloat16.
//
// A lane of a register is a word, two bfloat16. P is the vector type whose products take words:
// P::fma(a, b, c) = c + a.first * b.first + a.second * b.second. With it the blocks of gemm.hpp are
// these products too, over
//
//   queries and keys   words of two columns; a column of zeros makes an odd head_dim even
//   weights, values    words of two keys, 2n and 2n + 1 by their absolute numbers, so that what a
//                      row's sums are does not depend on the tile's first key
//
// Numbers nearer to 0 than the smallest normal one (1.2e-38) count as 0, as the instruction has it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/scale.hpp"
#include "kernels/simd/half.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/softmax/rounded_softmax.hpp"
#include "kernels/tiles/gemm.hpp"
#include "kernels/tiles/panel.hpp"
#include "kernels/tiles/scratch_memory.hpp"
#include "kernels/tiles/stored_rows.hpp"

namespace regard::kernels {
namespace {

/// to[0 .. words) = the `columns` bfloat16 of a row, and a zero if that is one too few.
template <class T>
inline void copy_words(const char* from, std::ptrdiff_t stride, std::int64_t columns, T* to,
                       std::int64_t words) {
  constexpr std::int64_t item = sizeof(Bfloat16);
  char* bytes = reinterpret_cast<char*>(to);
  if (2 * words > columns) to[words - 1] = 0;
  if (stride == item) {
    __builtin_memcpy(bytes, from, static_cast<std::size_t>(columns * item));
    return;
  }
  for (std::int64_t c = 0; c < columns; ++c) {
    __builtin_memcpy(bytes + c * item, from + c * stride, item);
  }
}

/// S' = K Q'. The queries are packed as they are: what they are multiplied by would round them
/// again, so it is for the sums.
template <class V, class P>
class DotScores {
  using T = typename V::scalar;

 public:
  using Key = Bfloat16;
  static constexpr std::int64_t spare_keys = 1;  // halves of words that belong to other tiles

  DotScores(const ScoreUnit& unit, ScratchMemory& memory)
      : u(unit), words((unit.head_dim + 1) / 2) {
    take(memory, {u.head_dim, 0, u.key_tile, 0, false}, queries, key_copy, rows);
    in_place = u.head_dim % 2 == 0 && u.key.rows.column_stride == sizeof(Bfloat16) &&
               u.key.rows.row_stride % word == 0 && u.key.page_stride % word == 0 &&
               reinterpret_cast<std::uintptr_t>(u.key.rows.data) % sizeof(T) == 0;
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    T *a, *b, *c;
    take(memory, sizes, a, b, c);
  }

  void pack(Panel<T>& panel) {
    panel.Qt = queries + panel.row * words;
    const std::int64_t width = round_up(words, V::lanes);
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      const std::int64_t left = panel.rows - r, count = left < V::lanes ? left : V::lanes;
      const char* at[V::lanes] = {};
      query_rows(u, panel.row + r, count, at);
      V::store(factors + panel.row + r,
               query_factors<V, Bfloat16>(u, panel.row + r, count, at, u.query.column_stride));
      for (std::int64_t i = 0; i < count; ++i) {
        copy_words(at[i], u.query.column_stride, u.head_dim, rows + i * width, words);
      }
      for (std::int64_t c = 0; c < words; c += V::lanes) {
        typename V::reg block[V::lanes];
        REGARD_UNROLL
        for (int i = 0; i < V::lanes; ++i) {
          block[i] = i < count ? V::load(rows + i * width + c) : V::zero();
        }
        V::transpose(block);
        T* to = panel.Qt + c * panel.ld + r;
        REGARD_UNROLL
        for (int i = 0; i < V::lanes; ++i) {
          if (c + i < words) V::store(to + i * panel.ld, block[i]);
        }
      }
    }
  }

  Rows read(std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t item = sizeof(Bfloat16);
    if (in_place && evenly_spaced(u.key, begin, end)) {
      const std::ptrdiff_t stride = u.key.rows.row_stride;
      return {stored_row(u.key, begin) - begin * stride, 0, stride, item};
    }
    for (std::int64_t j = begin; j < end; ++j) {
      copy_words(stored_row(u.key, j), u.key.rows.column_stride, u.head_dim,
                 key_copy + (j - begin) * words, words);
    }
    const std::ptrdiff_t stride = words * word;
    return {reinterpret_cast<char*>(key_copy) - begin * stride, 0, stride, item};
  }

  template <int KEYS, bool Track>
  void multiply(const Panel<T>& panel, std::int64_t r, std::int64_t vectors, const T* K,
                std::ptrdiff_t ldk, T* St, T* maximum) const {
    score_vectors<P, KEYS, Track, true>(static_cast<int>(vectors), K, ldk, panel.Qt + r, panel.ld,
                                        words, St, maximum, factors + panel.row + r);
  }

 private:
  static constexpr std::ptrdiff_t word = sizeof(T);
  const ScoreUnit& u;
  std::int64_t words;  ///< of a query or key
  bool in_place;
  T *queries, *key_copy, *rows;
  alignas(64) T factors[V::query_block];

  static void take(ScratchMemory& memory, const ScratchSizes& sizes, T*& packed, T*& keys,
                   T*& vector) {
    const std::int64_t length = (sizes.head_dim + 1) / 2;
    packed = memory.take<T>(length * V::query_block);
    keys = memory.take<T>(sizes.key_tile * length);
    vector = memory.take<T>(V::lanes * round_up(length, V::lanes));
  }
};

/// O += P V, with the values of a tile put in words. The weights are as RoundedSoftmax leaves them.
template <class V, class P>
class DotValues {
  using T = typename V::scalar;

 public:
  static constexpr std::int64_t step = 2;

  DotValues(const ForwardUnit& unit, ScratchMemory& memory)
      : stored(unit.value), width(unit.value_dim), ld(round_up(width, V::lanes)) {
    take(memory, {0, width, unit.scores.key_tile, 0, false}, copy);
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    T* values;
    take(memory, sizes, values);
  }

  /// Words of values are never those of keys, of two columns; but where values are in the keys,
  /// this has just brought the tile that DotScores reads into the cache.
  void read(std::int64_t begin, std::int64_t end, const Rows& /*keys*/) {
    first_word = begin / 2;
    T* to = copy;
    for (std::int64_t n = first_word; 2 * n < end; ++n, to += ld) {
      // No row of the block sees the other half of a word at the end, whatever it holds.
      const char* first = 2 * n < begin ? nullptr : stored_row(stored, 2 * n);
      const char* second = 2 * n + 1 < end ? stored_row(stored, 2 * n + 1) : nullptr;
      for (std::int64_t c = 0; c < ld; c += V::lanes) {
        Bfloat16 a[V::lanes], b[V::lanes];
        V::store(to + c, P::join(columns(first, c, a), columns(second, c, b)));
      }
    }
  }

  template <int ROWS, int VECTORS>
  void add(const T* Pt, std::ptrdiff_t ldp, const Keys<T>& keys, std::int64_t from, std::int64_t to,
           std::int64_t c, bool overwrite, T* O, std::ptrdiff_t ldo) const {
    const WordRange words = words_of(keys, from, to);
    value_block<P, ROWS, VECTORS>(Pt + words.begin * ldp, ldp, row(keys, words.begin) + c, ld,
                                  words.end - words.begin, overwrite, O, ldo);
  }

  /// In the order of value_block, so the same bits where nothing is left out.
  void add_carefully(const T* Pt, std::ptrdiff_t ldp, const Keys<T>& keys, std::int64_t from,
                     std::int64_t to, bool overwrite, T* O, std::int64_t columns_of_O) const {
    const WordRange words = words_of(keys, from, to);
    for (std::int64_t c = 0; c < columns_of_O; c += V::lanes) {
      typename V::reg sum = V::zero();
      for (std::int64_t n = words.begin; n < words.end; ++n) {
        const std::int64_t j = 2 * n - keys.begin % 2;
        const T first = j < from ? -T(0) : Pt[j * ldp];
        const T second = j + 1 < to ? Pt[(j + 1) * ldp] : -T(0);
        typename V::reg v = V::load(row(keys, n) + c);
        if (is_hidden(first)) v = P::second_only(v);
        if (is_hidden(second)) v = P::first_only(v);
        sum = P::fma(V::set1(float_of(bits_of(first) >> 16 | (bits_of(second) & 0xFFFF0000u))), v,
                     sum);
      }
      V::store(O + c, overwrite ? sum : V::add(V::load(O + c), sum));
    }
  }

 private:
  StoredRows stored;
  std::int64_t width, ld;
  std::int64_t first_word = 0;  ///< number of the tile's first
  T* copy;

  static void take(ScratchMemory& memory, const ScratchSizes& sizes, T*& values) {
    values = memory.take<T>((sizes.key_tile / 2 + 1) * round_up(sizes.value_dim, V::lanes));
  }

  const T* row(const Keys<T>& keys, std::int64_t n) const {
    return copy + (keys.begin / 2 - first_word + n) * ld;
  }

  /// A vector of columns of a row, from column c on, in place or in `room`; zeros past its end and
  /// for no row.
  const Bfloat16* columns(const char* row, std::int64_t c, Bfloat16 (&room)[V::lanes]) const {
    constexpr std::int64_t item = sizeof(Bfloat16);
    const std::ptrdiff_t stride = stored.rows.column_stride;
    if (row && stride == item && c + V::lanes <= width) {
      return reinterpret_cast<const Bfloat16*>(row + c * item);
    }
    for (std::int64_t i = 0; i < V::lanes; ++i) {
      room[i] = row && c + i < width ? read_element(row + (c + i) * stride) : Bfloat16{0};
    }
    return room;
  }
  static Bfloat16 read_element(const char* at) { return regard::kernels::read<Bfloat16>(at); }
};

template <class V, class P>
struct DotProducts {
  using Scores = DotScores<V, P>;
  using Softmax = RoundedSoftmax<V, P>;
  using Values = DotValues<V, P>;
};

}  // namespace
}  // namespace regard::kernels
