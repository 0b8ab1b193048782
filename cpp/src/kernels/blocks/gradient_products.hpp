// The products of a tile that sum over its rows, and those of the forward pass at an edge.
//
//   dV[j][c] += sum_r P'[j][r]  dO[r][c]     keys x columns, columns in the lanes
//   dK[j][c] += sum_r dS'[j][r] Q[r][c]
//   dP'[j][r] = sum_c V[j][c] dO'[c][r]      keys x rows, as S' = K Q'
//   dQ[r][c] += sum_j dS'[j][r] K[j][c]      rows x columns, as O += P V
//
// At an edge each block takes the rows or keys that see one another only; whoever fills P' and dS'
// sees to it that they are 0 within kMostOutRows keys of what a row sees.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/simd/unroll.hpp"
#include "kernels/softmax/softmax.hpp"
#include "kernels/tiles/gemm.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

/// dS' is -0 where P' is, +0 where it is 0 otherwise; of `count` numbers.
template <class T>
inline void copy_hidden(const T* Pt, std::int64_t count, T* dSt) {
  for (std::int64_t at = 0; at < count; ++at) dSt[at] = is_hidden(Pt[at]) ? -T(0) : dSt[at] + T(0);
}

/// KEYS keys x VECTORS vectors of columns of C[j][c] += sum_r A[j][r] B[r][c]. The sum is formed
/// from zero and then added, as in value_block.
template <class V, int KEYS, int VECTORS>
REGARD_NOINLINE void key_block(const typename V::scalar* A, std::ptrdiff_t lda,
                               const typename V::scalar* B, std::ptrdiff_t ldb, std::int64_t rows,
                               typename V::scalar* C, std::ptrdiff_t ldc) {
  using reg = typename V::reg;
  reg sum[KEYS][VECTORS];
  REGARD_UNROLL
  for (int j = 0; j < KEYS; ++j) {
    REGARD_UNROLL
    for (int c = 0; c < VECTORS; ++c) sum[j][c] = V::zero();
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    reg b[VECTORS];
    REGARD_UNROLL
    for (int c = 0; c < VECTORS; ++c) b[c] = V::load(B + r * ldb + c * V::lanes);
    REGARD_UNROLL
    for (int j = 0; j < KEYS; ++j) {
      const reg a = V::set1(A[j * lda + r]);
      REGARD_UNROLL
      for (int c = 0; c < VECTORS; ++c) sum[j][c] = V::fma(a, b[c], sum[j][c]);
    }
  }
  REGARD_UNROLL
  for (int j = 0; j < KEYS; ++j) {
    REGARD_UNROLL
    for (int c = 0; c < VECTORS; ++c) {
      typename V::scalar* to = C + j * ldc + c * V::lanes;
      V::store(to, V::add(V::load(to), sum[j][c]));
    }
  }
}

/// Whether neither NaN nor Inf is among `rows` rows.
template <class V>
inline bool rows_finite(const typename V::scalar* x, std::ptrdiff_t ld, std::int64_t rows,
                        std::int64_t columns) {
  using T = typename V::scalar;
  typename V::reg sum = V::zero();
  T rest = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t c = 0;
    for (; c + V::lanes <= columns; c += V::lanes) {
      sum = V::fma(V::load(x + r * ld + c), V::zero(), sum);
    }
    for (; c < columns; ++c) rest += x[r * ld + c] * T(0);
  }
  T lanes[V::lanes];
  V::store(lanes, sum);
  bool finite = rest == 0;
  for (const T lane : lanes) finite &= lane == 0;
  return finite;
}

/// A tile's weights or their gradients, keys x rows.
template <class T>
struct TileNumbers {
  const T* at;
  std::ptrdiff_t ld;
  std::int64_t rows, keys;
  bool careful;  ///< hidden ones are -0, and take no part whatever they would meet
};

/// key_block for one key, without what is hidden; same order of sums.
template <class V>
inline void careful_key(const typename V::scalar* A, const typename V::scalar* B,
                        std::ptrdiff_t ldb, std::int64_t rows, typename V::scalar* C,
                        std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; c += V::lanes) {
    typename V::reg sum = V::zero();
    for (std::int64_t r = 0; r < rows; ++r) {
      if (is_hidden(A[r])) continue;
      sum = V::fma(V::set1(A[r]), V::load(B + r * ldb + c), sum);
    }
    V::store(C + c, V::add(V::load(C + c), sum));
  }
}

/// One block of columns of add_to_keys, `width` vectors wide.
template <class V, int VECTORS = V::out_vectors>
inline void add_columns_to_keys(int width, const TileNumbers<typename V::scalar>& A,
                                const TileEdge<V>* edge, const typename V::scalar* B,
                                std::ptrdiff_t ldb, typename V::scalar* C, std::ptrdiff_t ldc) {
  if constexpr (VECTORS > 1) {
    if (width < VECTORS) {
      return add_columns_to_keys<V, VECTORS - 1>(width, A, edge, B, ldb, C, ldc);
    }
  }
  constexpr int keys = V::out_rows * V::out_vectors / VECTORS;
  constexpr int most_keys = keys < kMostOutRows ? keys : kMostOutRows;
  for_row_blocks<most_keys>(0, A.keys, [&]<int KEYS>(std::int64_t j) {
    std::int64_t from = 0, to = A.rows;
    if (edge) edge->visible_rows(j, j + KEYS, from, to);
    key_block<V, KEYS, VECTORS>(A.at + j * A.ld + from, A.ld, B + from * ldb, ldb, to - from,
                                C + j * ldc, ldc);
  });
}

/// C[j][c] += sum_r A[j][r] B[r][c] for the keys and rows of a tile; edge is null inside.
template <class V>
inline void add_to_keys(const TileNumbers<typename V::scalar>& A, const TileEdge<V>* edge,
                        const typename V::scalar* B, std::ptrdiff_t ldb, std::int64_t columns,
                        typename V::scalar* C, std::ptrdiff_t ldc) {
  if (A.careful) {
    for (std::int64_t j = 0; j < A.keys; ++j) {
      std::int64_t from = 0, to = A.rows;
      if (edge) edge->visible_rows(j, j + 1, from, to);
      careful_key<V>(A.at + j * A.ld + from, B + from * ldb, ldb, to - from, C + j * ldc, columns);
    }
    return;
  }
  for (std::int64_t c = 0; c < columns;) {
    const int width = column_block((columns - c) / V::lanes, V::out_vectors);
    add_columns_to_keys<V>(width, A, edge, B + c, ldb, C + c, ldc);
    c += width * V::lanes;
  }
}

/// One block of columns of add_to_rows, `width` vectors wide.
template <class V, int VECTORS = V::out_vectors>
inline void add_columns_to_rows(int width, const TileNumbers<typename V::scalar>& A,
                                const TileEdge<V>* edge, const typename V::scalar* K,
                                std::ptrdiff_t ldk, typename V::scalar* C, std::ptrdiff_t ldc) {
  if constexpr (VECTORS > 1) {
    if (width < VECTORS) {
      return add_columns_to_rows<V, VECTORS - 1>(width, A, edge, K, ldk, C, ldc);
    }
  }
  constexpr int rows = V::out_rows * V::out_vectors / VECTORS;
  constexpr int most_rows = rows < kMostOutRows ? rows : kMostOutRows;
  for_row_blocks<most_rows>(0, A.rows, [&]<int ROWS>(std::int64_t r) {
    std::int64_t from = 0, to = A.keys;
    if (edge) edge->visible_keys(r, r + ROWS - 1, from, to);
    value_block<V, ROWS, VECTORS>(A.at + from * A.ld + r, A.ld, K + from * ldk, ldk, to - from,
                                  false, C + r * ldc, ldc);
  });
}

/// C[r][c] += sum_j A[j][r] K[j][c].
template <class V>
inline void add_to_rows(const TileNumbers<typename V::scalar>& A, const TileEdge<V>* edge,
                        const typename V::scalar* K, std::ptrdiff_t ldk, std::int64_t columns,
                        typename V::scalar* C, std::ptrdiff_t ldc) {
  if (A.careful) {
    for (std::int64_t r = 0; r < A.rows; ++r) {
      std::int64_t from = 0, to = A.keys;
      if (edge) edge->visible_keys(r, r, from, to);
      careful_values<V>(A.at + from * A.ld + r, A.ld, K + from * ldk, ldk, to - from, false,
                        C + r * ldc, columns);
    }
    return;
  }
  for (std::int64_t c = 0; c < columns;) {
    const int width = column_block((columns - c) / V::lanes, V::out_vectors);
    add_columns_to_rows<V>(width, A, edge, K + c, ldk, C + c, ldc);
    c += width * V::lanes;
  }
}

/// C[j][r] = sum_c A[j][c] Bt[c][r]; at an edge only where a vector of rows sees a group of keys.
template <class V>
inline void multiply_tile(const typename V::scalar* A, std::ptrdiff_t lda, std::int64_t keys,
                          const TileEdge<V>* edge, const typename V::scalar* Bt, std::int64_t lanes,
                          std::int64_t depth, typename V::scalar* C) {
  if (depth == 0) {  // the blocks begin with the first column
    for (std::int64_t at = 0; at < keys * lanes; ++at) C[at] = 0;
    return;
  }
  for_row_blocks<V::score_keys>(0, keys, [&]<int KEYS>(std::int64_t j) {
    std::int64_t from = 0, to = lanes / V::lanes;
    if (edge) edge->visible_vectors(j, j + KEYS, from, to);
    for (std::int64_t v = from; v < to; v += V::score_vectors) {
      const std::int64_t r = v * V::lanes;
      score_vectors<V, KEYS, false>(static_cast<int>(to - v), A + j * lda, lda, Bt + r, lanes,
                                    depth, C + j * lanes + r, nullptr);
    }
  });
}

}  // namespace
}  // namespace regard::kernels
