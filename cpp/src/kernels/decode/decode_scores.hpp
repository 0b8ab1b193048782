// The scores of a few rows against a chunk of keys, one row after the other with the keys in the
// lanes, and what the options make of them (scores/order.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/output.hpp"
#include "kernels/decode/decode_products.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/scores/row_options.hpp"
#include "kernels/scores/scale.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/tiles/mask.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

template <class V>
class DecodeScores {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  explicit DecodeScores(const ScoreUnit& unit) : u(unit) {
    for (std::int64_t r = 0; r < u.row_count; ++r) reach[r] = reachable(u, u.first_row + r);
    first = reach[0].begin;  // positions do not decrease over the rows
    last = reach[u.row_count - 1].end;
  }

  std::int64_t first, last;  ///< keys [first, last) are those that some row can reach
  std::int64_t begin;        ///< of the chunk
  std::int64_t from, to;     ///< of its keys those within reach, counted from `begin`
  std::int64_t low, high;    ///< the same in whole vectors
  bool masked;               ///< some row does not see some of them; see `hidden`
  std::uint8_t hidden[kDecodeRows][kDecodeChunk];

  /// Q[r][0 .. ldq) = the queries, times scale * log2(e), in the order of the keys' columns.
  void pack(T* Q, std::int64_t ldq) const {
    for (std::int64_t i = 0; i < kDecodeRows * ldq; ++i) Q[i] = 0;
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      const std::int64_t row = u.first_row + r;
      T* q = Q + r * ldq;
      with_storage<V>(u.query_storage, [&]<class E>() {
        widen_row<V, E>(row_address(u.query, u.group, row), u.query.column_stride, u.head_dim,
                        V::set1(1), q, ldq);
      });
      const reg times = V::set1(static_cast<T>(query_factor<V, T>(u, row, kLog2E, q, sizeof(T))));
      for (std::int64_t c = 0; c < ldq; c += V::lanes) {
        V::store(q + c, V::mul(V::load(q + c), times));
      }
      for (std::int64_t c = u.head_dim; c < ldq; ++c) q[c] = 0;  // 0 times infinity is NaN
      with_storage<V>(u.key.storage, [&]<class E>() { order_columns<V, E>(q, u.head_dim); });
    }
  }

  /// S[r][j] of the keys [chunk, end); false if no row can reach any of them.
  bool set_chunk(std::int64_t chunk, std::int64_t end, const T* Q, std::int64_t ldq, T* S, T* copy,
                 const Fetch& wanted) {
    begin = chunk;
    from = clamp(first, chunk, end) - chunk;
    to = clamp(last, chunk, end) - chunk;
    if (from >= to) return false;
    low = from / V::lanes * V::lanes;
    high = round_up(to, V::lanes);
    with_rows(u.row_count, [&]<int ROWS>() {
      for_each_run<V>(u.key, wanted, begin + from, begin + to, u.key_count, u.head_dim, copy,
                      [&]<class E>(const char* K, std::ptrdiff_t stride, std::int64_t a,
                                   std::int64_t b, RowFetch& fetch) {
                        dot_rows<V, E, ROWS>(K, stride, b - a, Q, ldq, u.head_dim, S + a - begin,
                                             fetch);
                      });
    });
    const bool factors = RowOptions<V>::has_key_factors(u) || u.key.storage == Storage::int8;
    if (factors) set_factors(copy);
    masked = u.mask_kind != MaskKind::none || RowOptions<V>::can_hide(u);
    const bool by_tile = RowOptions<V>::by_tile(u);
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      T* s = S + r * kDecodeChunk;
      for (std::int64_t j = low; j < from; ++j) s[j] = 0;
      for (std::int64_t j = to; j < high; ++j) s[j] = 0;
      const ScoreRow<T> row = row_of(s, r);
      if (factors) {
        change_row<V>(row, [&](reg x, std::int64_t j) { return V::mul(x, V::load(factor + j)); });
      }
      if (!by_tile) RowOptions<V>::apply(u, row);
      masked |= reach[r].begin > begin + from || reach[r].end < begin + to;
    }
    if (by_tile) RowOptions<V>::apply_by_tile(u, row_of(S, 0), u.row_count, kDecodeChunk);
    for (std::int64_t r = 0; r < u.row_count; ++r) hide(S + r * kDecodeChunk, r);
    return true;
  }

 private:
  const ScoreUnit& u;
  KeyRange reach[kDecodeRows];
  alignas(64) T factor[kDecodeChunk];

  ScoreRow<T> row_of(T* s, std::int64_t r) const {
    return {s, u.first_row + r, begin, from, to, low, high};
  }

  /// What belongs to the keys alone: the scale of int8, and what options have.
  void set_factors(T* copy) {
    read_scales(u.key, begin + from, begin + to, factor + from);
    RowOptions<V>::multiply_key_factors(u, begin + from, begin + to, factor + from, copy);
  }

  /// -inf where row r does not see a key of the chunk, and beyond its ends.
  void hide(T* s, std::int64_t r) {
    constexpr T nothing = minus_infinity<V>();
    for (std::int64_t j = low; j < from; ++j) s[j] = nothing;
    for (std::int64_t j = to; j < high; ++j) s[j] = nothing;
    if (!masked) return;
    const std::int64_t row = u.first_row + r;
    std::uint8_t sees[kDecodeChunk];
    if (u.mask_kind != MaskKind::none) visible_keys(u, row, begin + from, to - from, sees);
    for (std::int64_t j = from; j < to; ++j) {
      const std::int64_t key = begin + j;
      bool unseen = key < reach[r].begin || key >= reach[r].end;
      unseen |= u.mask_kind != MaskKind::none && !sees[j - from];
      unseen |= RowOptions<V>::hides(u, row, key);
      hidden[r][j] = unseen;
      if (unseen) s[j] = nothing;
    }
  }
};

}  // namespace
}  // namespace regard::kernels
