// The online softmax for weights that are rounded to bfloat16 and joined to words of two keys.
//
// l is of the weights before they are rounded, and the LSE with it. O is divided by the sum of the
// rounded ones, which it is made of: then weights still sum to 1, equal values come through as they
// are, and what rounding does is in proportion to the spread of the values, not to their size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/half.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/softmax/online_softmax.hpp"
#include "kernels/tiles/panel.hpp"

namespace regard::kernels {
namespace {

/// Words [begin, end) that hold the keys [from, to) of `keys`. Word n has 2n and 2n + 1, counted
/// from the last even key at or before keys.begin.
struct WordRange {
  std::int64_t begin, end;
};
template <class T>
inline WordRange words_of(const Keys<T>& keys, std::int64_t from, std::int64_t to) {
  const std::int64_t odd = keys.begin % 2, begin = (from + odd) / 2;
  return {begin, to > from ? (to + odd + 1) / 2 : begin};
}

/// P' = 2^(S' - m) rounded, of `words` words from the two rows at St on, with both sums. Joined,
/// they go to `to`, which may be St or before it; else each back to its own row.
template <class V, class P, int VECTORS, bool JOIN>
REGARD_NOINLINE void word_weights(typename V::scalar* St, std::ptrdiff_t ld, std::int64_t words,
                                  const typename V::scalar* m, typename V::scalar* l,
                                  typename V::scalar* rounded, typename V::scalar* to) {
  using reg = typename V::reg;
  reg reference[VECTORS], sum[VECTORS], rounded_sum[VECTORS];
  const reg ones = V::set1(float_of(0x3F803F80u));
  REGARD_UNROLL
  for (int v = 0; v < VECTORS; ++v) {
    reference[v] = finite_reference<V>(V::load(m + v * V::lanes));
    sum[v] = rounded_sum[v] = V::zero();
  }
  for (std::int64_t n = 0; n < words; ++n) {
    REGARD_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      typename V::scalar* at = St + 2 * n * ld + v * V::lanes;
      const reg first = V::exp2(V::sub(V::load(at), reference[v]));
      const reg second = V::exp2(V::sub(V::load(at + ld), reference[v]));
      sum[v] = V::add(V::add(sum[v], first), second);
      const reg word = P::join(first, second);
      rounded_sum[v] = P::fma(word, ones, rounded_sum[v]);
      if constexpr (JOIN) {
        V::store(to + n * ld + v * V::lanes, word);
      } else {
        V::store(at, P::first(word));
        V::store(at + ld, P::second(word));
      }
    }
  }
  REGARD_UNROLL
  for (int v = 0; v < VECTORS; ++v) {
    V::store(l + v * V::lanes, V::add(V::load(l + v * V::lanes), sum[v]));
    V::store(rounded + v * V::lanes, V::add(V::load(rounded + v * V::lanes), rounded_sum[v]));
  }
}

template <class V, class P>
struct RoundedSoftmax : OnlineSoftmax<V> {
  using T = typename V::scalar;
  using Base = OnlineSoftmax<V>;
  alignas(64) T rounded[V::query_block];  ///< sum of the rounded weights

  const T* weight_sums() const { return rounded; }

  void start() {
    Base::start();
    for (auto& x : rounded) x = 0;
  }

  bool raise(const Panel<T>& panel, const T* maximum, T* alpha) {
    if (!Base::raise(panel, maximum, alpha)) return false;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      T* sum = rounded + panel.row + r;
      V::store(sum, V::mul(V::load(sum), V::load(alpha + r)));
    }
    return true;
  }

  /// The weights, joined; or one by one if they will be `changed` before `join` joins them.
  template <class Block>
  void weigh(Block& block, const Panel<T>& panel, const Keys<T>& keys, bool changed) {
    for_vectors(
        block, panel, keys, [&]<int VECTORS>(std::int64_t r, std::int64_t from, std::int64_t to) {
          T* St = block.St + r;
          hide_halves<VECTORS>(St, panel.ld, keys, from, to);
          const WordRange words = words_of(keys, from, to);
          T* first = St + (2 * words.begin - keys.begin % 2) * panel.ld;
          const std::int64_t row = panel.row + r;
          (changed ? word_weights<V, P, VECTORS, false>
                   : word_weights<V, P, VECTORS, true>)(first, panel.ld, words.end - words.begin,
                                                        Base::m + row, Base::l + row, rounded + row,
                                                        St + words.begin * panel.ld);
        });
  }

  template <class Block>
  void join(Block& block, const Panel<T>& panel, const Keys<T>& keys) {
    for_vectors(
        block, panel, keys, [&]<int VECTORS>(std::int64_t r, std::int64_t from, std::int64_t to) {
          const WordRange words = words_of(keys, from, to);
          for (std::int64_t n = words.begin; n < words.end; ++n) {
            for (int v = 0; v < VECTORS; ++v) {
              T* column = block.St + r + v * V::lanes;
              const T* first = column + (2 * n - keys.begin % 2) * panel.ld;
              V::store(column + n * panel.ld, P::join(V::load(first), V::load(first + panel.ld)));
            }
          }
        });
  }

 private:
  /// Halves of words at the ends that no row of the vectors uses weigh nothing. QueryBlock has rows
  /// to spare for them.
  template <int VECTORS>
  static void hide_halves(T* St, std::ptrdiff_t ld, const Keys<T>& keys, std::int64_t from,
                          std::int64_t to) {
    const typename V::reg hidden = V::set1(minus_infinity<V>());
    for (int v = 0; v < VECTORS; ++v) {
      if ((keys.begin + from) % 2 != 0) V::store(St + (from - 1) * ld + v * V::lanes, hidden);
      if ((keys.begin + to) % 2 != 0) V::store(St + to * ld + v * V::lanes, hidden);
    }
  }

  /// body<VECTORS>(r, from, to) for vectors of rows, and the keys that they use.
  template <class Block, class Body>
  static void for_vectors(const Block& block, const Panel<T>& panel, const Keys<T>& keys,
                          const Body& body) {
    if (keys.edged) {
      for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
        std::int64_t from = 0, to = keys.count;
        block.used_keys(panel, keys, r, from, to);
        if (from < to) body.template operator()<1>(r, from, to);
      }
      return;
    }
    for_row_blocks<V::score_vectors>(0, panel.ld / V::lanes, [&]<int VECTORS>(std::int64_t v) {
      body.template operator()<VECTORS>(v * V::lanes, 0, keys.count);
    });
  }
};

}  // namespace
}  // namespace regard::kernels
