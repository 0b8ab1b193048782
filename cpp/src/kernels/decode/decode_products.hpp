// The two products of a few rows with many keys. The rows of K and V are read once, in the type
// they are kept in, and widened in registers.
//
//   dot_block:     S[r][j] = sum_d Q[r][d] K[j][d]      d in the lanes
//   weigh_rows:    C[r][c] += sum_j P[r][j] V[j][c]     c in the lanes
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/decode/row_fetch.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/storage.hpp"
#include "kernels/tiles/stored_rows.hpp"

namespace regard::kernels {
namespace {

/// Sums in flight: enough to hide the latency of the additions.
template <class V>
constexpr int kDecodeSums = V::score_keys * V::score_vectors >= 16 ? 16 : 8;

/// Vectors of E in a cache line, which is fetched once.
template <class V, class E>
constexpr int kLineVectors =
    V::lanes * sizeof(E) < 64 ? 64 / (V::lanes * static_cast<int>(sizeof(E))) : 1;

/// Whether two vectors of E are widened in fewer instructions as those of its even and its odd
/// columns: a bfloat16 is the upper half of a float, so that one of two needs no conversion but
/// losing the other.
template <class V, class E>
constexpr bool kSplitsPairs = requires(const E* p) { V::load_odd(p); };

/// Q[0 .. head_dim) in the order in which the columns of E are widened.
template <class V, class E>
inline void order_columns(typename V::scalar* Q, std::int64_t head_dim) {
  if constexpr (kSplitsPairs<V, E>) {
    for (std::int64_t c = 0; c + 2 * V::lanes <= head_dim; c += 2 * V::lanes) {
      const typename V::reg low = V::load(Q + c), high = V::load(Q + c + V::lanes);
      V::store(Q + c, V::even(low, high));
      V::store(Q + c + V::lanes, V::odd(low, high));
    }
  }
}

/// KEYS keys from K on, `stride` bytes apart, and ROWS rows of Q (padded with zeros to whole
/// vectors); S[r][j] is at S[r * kDecodeChunk + j].
template <class V, class E, int ROWS, int KEYS>
REGARD_NOINLINE void dot_block(const char* K, std::ptrdiff_t stride, const typename V::scalar* Q,
                               std::int64_t ldq, std::int64_t head_dim, typename V::scalar* S,
                               RowFetch& fetch) {
  using T = typename V::scalar;
  using reg = typename V::reg;
  constexpr int together = KEYS < 8 ? KEYS : 8;
  constexpr int vectors = (KEYS * ROWS + V::lanes - 1) / V::lanes;
  reg sums[vectors][V::lanes];
  REGARD_UNROLL
  for (int i = KEYS * ROWS; i < vectors * V::lanes; ++i)
    sums[i / V::lanes][i % V::lanes] = V::zero();
#ifndef __clang__  // which refuses to unroll loops around loops
  REGARD_UNROLL
#endif
  for (int first = 0; first < KEYS; first += together) {
    reg s[together][ROWS];
    REGARD_UNROLL
    for (int j = 0; j < together; ++j) {
      REGARD_UNROLL
      for (int r = 0; r < ROWS; ++r) s[j][r] = V::zero();
    }
    // The vector at column c of all keys; `load` knows how it lies at column `at`.
    const auto add = [&](std::int64_t c, std::int64_t at, const auto& load) {
      reg q[ROWS];
      REGARD_UNROLL
      for (int r = 0; r < ROWS; ++r) q[r] = V::load(Q + r * ldq + c);
      REGARD_UNROLL
      for (int j = 0; j < together; ++j) {
        const reg k = load(reinterpret_cast<const E*>(K + (first + j) * stride) + at);
        REGARD_UNROLL
        for (int r = 0; r < ROWS; ++r) s[j][r] = V::fma(k, q[r], s[j][r]);
      }
    };
    const auto load = [](const E* k) { return V::load(k); };
    const auto add_pair = [&](std::int64_t c) {
      if constexpr (kSplitsPairs<V, E>) {
        add(c, c, [](const E* k) { return V::load_even(k); });
        add(c + V::lanes, c, [](const E* k) { return V::load_odd(k); });
      } else {
        add(c, c, load);
        add(c + V::lanes, c + V::lanes, load);
      }
    };
    constexpr int line = kLineVectors<V, E> * V::lanes;
    std::int64_t c = 0;
    for (; c + line <= head_dim; c += line) {
      fetch.step<together>();
      if constexpr (line == V::lanes) {
        add(c, c, load);
      } else {
        REGARD_UNROLL
        for (int i = 0; i < line; i += 2 * V::lanes) add_pair(c + i);
      }
    }
    for (; c + 2 * V::lanes <= head_dim; c += 2 * V::lanes) add_pair(c);
    for (; c + V::lanes <= head_dim; c += V::lanes) add(c, c, load);
    if (c < head_dim) add(c, c, [&](const E* k) { return load_first<V>(k, head_dim - c); });
    REGARD_UNROLL
    for (int j = 0; j < together; ++j) {
      REGARD_UNROLL
      for (int r = 0; r < ROWS; ++r) {
        const int at = r * KEYS + first + j;
        sums[at / V::lanes][at % V::lanes] = s[j][r];
      }
    }
  }
  alignas(64) T scores[vectors * V::lanes];
  REGARD_UNROLL
  for (int i = 0; i < vectors; ++i) V::store(scores + i * V::lanes, V::sum_lanes(sums[i]));
  REGARD_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    __builtin_memcpy(S + r * kDecodeChunk, scores + r * KEYS, KEYS * sizeof(T));
  }
}

/// Scores of `keys` keys from K on. Blocks overlap at the end: a score is the same in each.
template <class V, class E, int ROWS>
void dot_rows(const char* K, std::ptrdiff_t stride, std::int64_t keys, const typename V::scalar* Q,
              std::int64_t ldq, std::int64_t head_dim, typename V::scalar* S, RowFetch& fetch) {
  constexpr int most = kDecodeSums<V> / ROWS;
  if (keys < most) {
    for (std::int64_t j = 0; j < keys; ++j) {
      dot_block<V, E, ROWS, 1>(K + j * stride, stride, Q, ldq, head_dim, S + j, fetch);
    }
    return;
  }
  for (std::int64_t next = 0; next < keys; next += most) {
    const std::int64_t j = next + most <= keys ? next : keys - most;
    dot_block<V, E, ROWS, most>(K + j * stride, stride, Q, ldq, head_dim, S + j, fetch);
  }
}

/// VECTORS vectors of columns of C; with PART, one of which only `columns` elements exist.
template <class V, class E, int ROWS, int VECTORS, bool PART>
REGARD_NOINLINE void weigh_block(const char* rows, std::ptrdiff_t stride, std::int64_t keys,
                                 std::int64_t columns, const typename V::scalar* P,
                                 typename V::scalar* C, std::int64_t ldc, RowFetch& fetch) {
  using reg = typename V::reg;
  constexpr int line = kLineVectors<V, E>;
  constexpr bool split = !PART && VECTORS % 2 == 0 && kSplitsPairs<V, E>;
  reg c[ROWS][VECTORS];
  REGARD_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    REGARD_UNROLL
    for (int i = 0; i < VECTORS; ++i) c[r][i] = V::load(C + r * ldc + i * V::lanes);
    if constexpr (split) {
      REGARD_UNROLL
      for (int i = 0; i < VECTORS; i += 2) {
        const reg low = c[r][i], high = c[r][i + 1];
        c[r][i] = V::even(low, high);
        c[r][i + 1] = V::odd(low, high);
      }
    }
  }
  RowFetch lines = fetch;  // a copy, which stores to C cannot change
  for (std::int64_t j = 0; j < keys; ++j) {
    const auto* row = reinterpret_cast<const E*>(rows + j * stride);
    if constexpr (VECTORS >= line) {
      lines.step<VECTORS / line>();
    } else if (j % (line / VECTORS) == 0) {
      lines.step<1>();
    }
    reg v[VECTORS];
    REGARD_UNROLL
    for (int i = 0; i < VECTORS; ++i) {
      if constexpr (PART) {
        v[i] = load_first<V>(row, columns);
      } else if constexpr (split) {
        v[i] =
            i % 2 == 0 ? V::load_even(row + i * V::lanes) : V::load_odd(row + (i - 1) * V::lanes);
      } else {
        v[i] = V::load(row + i * V::lanes);
      }
    }
    REGARD_UNROLL
    for (int r = 0; r < ROWS; ++r) {
      const reg p = V::set1(P[r * kDecodeChunk + j]);
      REGARD_UNROLL
      for (int i = 0; i < VECTORS; ++i) c[r][i] = V::fma(p, v[i], c[r][i]);
    }
  }
  REGARD_UNROLL
  for (int r = 0; r < ROWS; ++r) {
    if constexpr (split) {
      REGARD_UNROLL
      for (int i = 0; i < VECTORS; i += 2) {
        const reg even = c[r][i], odd = c[r][i + 1];
        c[r][i] = V::first_of_pairs(even, odd);
        c[r][i + 1] = V::last_of_pairs(even, odd);
      }
    }
    REGARD_UNROLL
    for (int i = 0; i < VECTORS; ++i) V::store(C + r * ldc + i * V::lanes, c[r][i]);
  }
  fetch = lines;
}

/// Full vectors of columns, as many at a time as there are registers for.
template <class V, class E, int ROWS, int VECTORS>
inline void weigh_vectors(std::int64_t vectors, const char* rows, std::ptrdiff_t stride,
                          std::int64_t keys, const typename V::scalar* P, typename V::scalar* C,
                          std::int64_t ldc, RowFetch& fetch) {
  for (; vectors >= VECTORS; vectors -= VECTORS) {
    weigh_block<V, E, ROWS, VECTORS, false>(rows, stride, keys, 0, P, C, ldc, fetch);
    rows += VECTORS * V::lanes * static_cast<std::ptrdiff_t>(sizeof(E));
    C += VECTORS * V::lanes;
  }
  if constexpr (VECTORS > 1) {
    weigh_vectors<V, E, ROWS, VECTORS / 2>(vectors, rows, stride, keys, P, C, ldc, fetch);
  }
}

template <class V, class E, int ROWS>
void weigh_rows(const char* rows, std::ptrdiff_t stride, std::int64_t keys, std::int64_t columns,
                const typename V::scalar* P, typename V::scalar* C, std::int64_t ldc,
                RowFetch& fetch) {
  constexpr int sums = kDecodeSums<V> / ROWS, most = sums >= 8   ? 8
                                                     : sums >= 4 ? 4
                                                     : sums >= 2 ? 2
                                                                 : 1;
  const std::int64_t vectors = columns / V::lanes, whole = vectors * V::lanes;
  weigh_vectors<V, E, ROWS, most>(vectors, rows, stride, keys, P, C, ldc, fetch);
  if (whole == columns) return;
  weigh_block<V, E, ROWS, 1, true>(rows + whole * static_cast<std::ptrdiff_t>(sizeof(E)), stride,
                                   keys, columns - whole, P, C + whole, ldc, fetch);
}

/// Calls body.template operator()<ROWS>() with rows rounded up to what there is.
template <class Body>
inline void with_rows(std::int64_t rows, const Body& body) {
  if (rows == 1) return body.template operator()<1>();
  if (rows == 2) return body.template operator()<2>();
  if (rows == 3) return body.template operator()<3>();
  if (rows == 4) return body.template operator()<4>();
  if (rows <= 6) return body.template operator()<6>();
  body.template operator()<8>();
}

/// Rows that are read, or copied when their columns do not follow each other, at a time.
constexpr std::int64_t kRunRows = 32;

/// Calls body.template operator()<E>(first row, stride, begin, end, fetch) for runs of the rows
/// [begin, end) of `width` columns that lie as E, without their scales; `fetch` has the rows that
/// are read some way after these, of all `rows`.
template <class V, class Body>
inline void for_each_run(const StoredRows& s, const Fetch& wanted, std::int64_t begin,
                         std::int64_t end, std::int64_t rows, std::int64_t width,
                         typename V::scalar* copy, const Body& body) {
  with_storage<V>(s.storage, [&]<class E>() {
    const bool dense = s.rows.column_stride == static_cast<std::ptrdiff_t>(sizeof(E));
    const std::ptrdiff_t bytes = width * static_cast<std::ptrdiff_t>(sizeof(E));
    const std::int64_t ahead = rows_ahead(wanted, bytes);
    for (std::int64_t a = begin; a < end;) {
      std::int64_t b = smaller(a + kRunRows, end);
      // Past the end there is no page, but where rows follow each other often the next head.
      const bool fetches = dense && (s.pages == nullptr || a + ahead < rows);
      const std::int64_t next = fetches ? a + ahead : a;
      if (s.pages) {
        b = smaller(b, page_end(s, a));
        b = smaller(b, a + smaller(rows, page_end(s, next)) - next);
      }
      RowFetch fetch(stored_row(s, next), s.rows.row_stride, b - a, bytes, wanted);
      if (dense) {
        body.template operator()<E>(stored_row(s, a), s.rows.row_stride, a, b, fetch);
      } else {
        E* to = reinterpret_cast<E*>(copy);
        for (std::int64_t j = a; j < b; ++j) {
          const char* from = stored_row(s, j);
          for (std::int64_t c = 0; c < width; ++c, ++to, from += s.rows.column_stride) {
            __builtin_memcpy(to, from, sizeof(E));
          }
        }
        body.template operator()<E>(reinterpret_cast<const char*>(copy), bytes, a, b, fetch);
      }
      fetch.rest();
      a = b;
    }
  });
}

}  // namespace
}  // namespace regard::kernels
