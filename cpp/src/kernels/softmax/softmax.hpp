// The online softmax of a tile (Milakov & Gimelshein 2018; Dao et al. 2022), lanes = queries.
//
// m is a reference for the exponents, not always the maximum: it moves only when some score is
// more than 2^8 above it, so that O and l are rarely rescaled. Weights are then at most 2^8.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/simd/base2.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

/// m where it may be subtracted: rows that have seen nothing yet have m = -inf, and
/// -inf - -inf is NaN.
template <class V>
inline typename V::reg finite_reference(typename V::reg m) {
  return V::select(V::equal(m, V::set1(minus_infinity<V>())), V::zero(), m);
}

/// Moves m up to the tile's maximum where that exceeds m + 8; alpha = 2^(old m - new m) there, 1
/// elsewhere. Returns whether any lane moved.
template <class V>
inline bool raise_reference(typename V::reg maximum, typename V::scalar* m,
                            typename V::scalar* alpha) {
  const typename V::reg old = V::load(m);
  const auto grown = V::less(V::add(old, V::set1(8)), maximum);
  if (!V::any(grown)) {
    V::store(alpha, V::set1(1));
    return false;
  }
  V::store(alpha, V::select(grown, V::exp2(V::sub(old, maximum)), V::set1(1)));
  V::store(m, V::select(grown, maximum, old));
  return true;
}

/// P' = 2^(S' - m) in place, and l += the sum over the tile's keys.
template <class V, int VECTORS>
REGARD_NOINLINE void weights_block(typename V::scalar* St, std::ptrdiff_t ld, std::int64_t keys,
                                   const typename V::scalar* m, typename V::scalar* l) {
  using reg = typename V::reg;
  reg reference[VECTORS], sum[VECTORS];
  REGARD_UNROLL
  for (int v = 0; v < VECTORS; ++v) {
    reference[v] = finite_reference<V>(V::load(m + v * V::lanes));
    sum[v] = V::zero();
  }
  for (std::int64_t j = 0; j < keys; ++j) {
    REGARD_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      typename V::scalar* at = St + j * ld + v * V::lanes;
      const reg p = V::exp2(V::sub(V::load(at), reference[v]));
      V::store(at, p);
      sum[v] = V::add(sum[v], p);
    }
  }
  REGARD_UNROLL
  for (int v = 0; v < VECTORS; ++v) {
    V::store(l + v * V::lanes, V::add(V::load(l + v * V::lanes), sum[v]));
  }
}

/// weights_block for a number of vectors known only at run time.
template <class V, int VECTORS = V::score_vectors>
inline void tile_weights(std::int64_t vectors, typename V::scalar* St, std::ptrdiff_t ld,
                         std::int64_t keys, const typename V::scalar* m, typename V::scalar* l) {
  for (; vectors >= VECTORS; vectors -= VECTORS) {
    weights_block<V, VECTORS>(St, ld, keys, m, l);
    St += VECTORS * V::lanes;
    m += VECTORS * V::lanes;
    l += VECTORS * V::lanes;
  }
  if constexpr (VECTORS > 1) tile_weights<V, VECTORS - 1>(vectors, St, ld, keys, m, l);
}

/// row *= alpha for the rows of O whose reference moved.
template <class V>
inline void rescale_rows(typename V::scalar* O, std::ptrdiff_t ldo, std::int64_t rows,
                         const typename V::scalar* alpha) {
  for (std::int64_t r = 0; r < rows; ++r) {
    if (alpha[r] == 1) continue;
    const typename V::reg a = V::set1(alpha[r]);
    for (std::int64_t c = 0; c < ldo; c += V::lanes) {
      V::store(O + r * ldo + c, V::mul(V::load(O + r * ldo + c), a));
    }
  }
}

/// Weights of what is hidden are marked by -0, which adds nothing, where that may matter: it can be
/// told from a weight that underflowed, or that belongs to a score of -inf.
template <class T>
inline bool is_hidden(T weight) {
  return weight == 0 && __builtin_signbit(weight);
}

/// One row of O += P V that skips hidden weights (-0), for values that may hold NaN or Inf where
/// masked. Same order of sums as value_block, so the same bits where nothing is skipped.
template <class V>
inline void careful_values(const typename V::scalar* Pt, std::ptrdiff_t ld,
                           const typename V::scalar* Vt, std::ptrdiff_t ldv, std::int64_t keys,
                           bool overwrite, typename V::scalar* O, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; c += V::lanes) {
    typename V::reg o = V::zero();
    for (std::int64_t j = 0; j < keys; ++j) {
      const typename V::scalar p = Pt[j * ld];
      if (is_hidden(p)) continue;
      o = V::fma(V::set1(p), V::load(Vt + j * ldv + c), o);
    }
    V::store(O + c, overwrite ? o : V::add(V::load(O + c), o));
  }
}

}  // namespace
}  // namespace regard::kernels
