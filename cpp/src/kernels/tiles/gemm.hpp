// The two products of a tile, with accumulators that never leave the registers.
//
//   score_tile:   S'[j][r] = sum_d K[j][d] * Q'[d][r]     keys x queries, queries in the lanes
//   weigh_values: O[r][c] += sum_j P'[j][r] * V[j][c]     queries x columns, columns in the lanes
//
// S' and P' are S and P transposed (same memory: [key][query], leading dimension ld).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

/// KEYS rows of S' for VECTORS vectors of queries; with Scale, times `factors`. With Track,
/// `maximum` follows, lane by lane.
template <class V, int KEYS, int VECTORS, bool Track, bool Scale>
REGARD_NOINLINE void score_block(const typename V::scalar* K, std::ptrdiff_t ldk,
                                 const typename V::scalar* Qt, std::ptrdiff_t ld,
                                 std::int64_t head_dim,
                                 [[maybe_unused]] const typename V::scalar* factors,
                                 typename V::scalar* St, typename V::scalar* maximum) {
  using reg = typename V::reg;
  reg s[KEYS][VECTORS];
  {  // the first step starts the sums
    reg q[VECTORS];
    REGARD_UNROLL
    for (int v = 0; v < VECTORS; ++v) q[v] = V::load(Qt + v * V::lanes);
    REGARD_UNROLL
    for (int j = 0; j < KEYS; ++j) {
      const reg k = V::set1(K[j * ldk]);
      REGARD_UNROLL
      for (int v = 0; v < VECTORS; ++v) s[j][v] = V::mul(k, q[v]);
    }
  }
  for (std::int64_t d = 1; d < head_dim; ++d) {
    reg q[VECTORS];
    REGARD_UNROLL
    for (int v = 0; v < VECTORS; ++v) q[v] = V::load(Qt + d * ld + v * V::lanes);
    REGARD_UNROLL
    for (int j = 0; j < KEYS; ++j) {
      const reg k = V::set1(K[j * ldk + d]);
      REGARD_UNROLL
      for (int v = 0; v < VECTORS; ++v) s[j][v] = V::fma(k, q[v], s[j][v]);
    }
  }
  REGARD_UNROLL
  for (int v = 0; v < VECTORS; ++v) {
    if constexpr (Scale) {
      const reg factor = V::load(factors + v * V::lanes);
      REGARD_UNROLL
      for (int j = 0; j < KEYS; ++j) s[j][v] = V::scale(s[j][v], factor);
    }
    REGARD_UNROLL
    for (int j = 0; j < KEYS; ++j) V::store(St + j * ld + v * V::lanes, s[j][v]);
    if constexpr (Track) {
      reg running = V::load(maximum + v * V::lanes);
      REGARD_UNROLL
      for (int j = 0; j < KEYS; ++j) running = V::max(running, s[j][v]);
      V::store(maximum + v * V::lanes, running);
    }
  }
}

/// score_block for a number of vectors known only at run time (1 .. VECTORS).
template <class V, int KEYS, bool Track, bool Scale = false, int VECTORS = V::score_vectors>
inline void score_vectors(int vectors, const typename V::scalar* K, std::ptrdiff_t ldk,
                          const typename V::scalar* Qt, std::ptrdiff_t ld, std::int64_t head_dim,
                          typename V::scalar* St, typename V::scalar* maximum,
                          const typename V::scalar* factors = nullptr) {
  if constexpr (VECTORS > 1) {
    if (vectors < VECTORS) {
      return score_vectors<V, KEYS, Track, Scale, VECTORS - 1>(vectors, K, ldk, Qt, ld, head_dim,
                                                               St, maximum, factors);
    }
  }
  score_block<V, KEYS, VECTORS, Track, Scale>(K, ldk, Qt, ld, head_dim, factors, St, maximum);
}

/// Calls body.template operator()<N>(start) for blocks of N rows that cover [begin, end): as many
/// of the full size as fit, then halves.
template <int N, class Body>
inline void for_row_blocks(std::int64_t begin, std::int64_t end, const Body& body) {
  for (; begin + N <= end; begin += N) body.template operator()<N>(begin);
  if constexpr (N > 1) {
    constexpr int half = N > 4 ? 4 : N / 2;
    for_row_blocks<half>(begin, end, body);
  }
}

/// Most rows of O in one block: narrow blocks take more rows, but the addresses run out.
constexpr int kMostOutRows = 12;

/// ROWS rows x VECTORS vectors of O. The tile's sum is formed from zero and then added: rounding
/// errors grow with the tile length plus the number of tiles rather than with their product.
template <class V, int ROWS, int VECTORS>
REGARD_NOINLINE void value_block(const typename V::scalar* Pt, std::ptrdiff_t ld,
                                 const typename V::scalar* Vt, std::ptrdiff_t ldv,
                                 std::int64_t keys, bool overwrite, typename V::scalar* O,
                                 std::ptrdiff_t ldo) {
  using reg = typename V::reg;
  reg o[ROWS][VECTORS];
  REGARD_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    REGARD_UNROLL
    for (int c = 0; c < VECTORS; ++c) o[r][c] = V::zero();
  }
  for (std::int64_t j = 0; j < keys; ++j) {
    reg v[VECTORS];
    REGARD_UNROLL
    for (int c = 0; c < VECTORS; ++c) v[c] = V::load(Vt + j * ldv + c * V::lanes);
    REGARD_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const reg p = V::set1(Pt[j * ld + r]);
      REGARD_UNROLL
      for (int c = 0; c < VECTORS; ++c) o[r][c] = V::fma(p, v[c], o[r][c]);
    }
  }
  REGARD_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    REGARD_UNROLL
    for (int c = 0; c < VECTORS; ++c) {
      typename V::scalar* to = O + r * ldo + c * V::lanes;
      V::store(to, overwrite ? o[r][c] : V::add(V::load(to), o[r][c]));
    }
  }
}

/// Widest split of the columns of O into blocks: 4 vectors at a time while that leaves no single
/// vector over (one vector feeds one FMA from each broadcast), so 5 is 3 + 2.
inline int column_block(std::int64_t vectors_left, int widest) {
  if (vectors_left == widest + 1 && widest > 2) return widest - 1;
  return static_cast<int>(vectors_left < widest ? vectors_left : widest);
}

}  // namespace
}  // namespace regard::kernels
