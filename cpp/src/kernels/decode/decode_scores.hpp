// The scores of a few rows against a chunk of keys, one row after the other with the keys in the
// lanes, and what the options make of them. What each option means: score_hooks.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/output.hpp"
#include "kernels/decode/decode_products.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/scores/score_hooks.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/tanh.hpp"
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
    for (int i = 0; i < V::lanes; ++i) iota[i] = static_cast<T>(i);
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
      double scale = u.scale[row % u.group * u.scale_step] * kLog2E;
      if (u.cosine) {
        scale *= inverse_norm<T>(reinterpret_cast<const char*>(q), sizeof(T), u.head_dim);
      }
      const reg times = V::set1(static_cast<T>(scale));
      for (std::int64_t c = 0; c < ldq; c += V::lanes) {
        V::store(q + c, V::mul(V::load(q + c), times));
      }
      with_storage<V>(u.key.storage, [&]<class E>() { order_columns<V, E>(q, u.head_dim); });
    }
  }

  /// S[r][j] of the keys [chunk, end); false if no row can reach any of them.
  bool set_chunk(std::int64_t chunk, std::int64_t end, const T* Q, std::int64_t ldq, T* S,
                 T* copy) {
    begin = chunk;
    from = clamp(first, chunk, end) - chunk;
    to = clamp(last, chunk, end) - chunk;
    if (from >= to) return false;
    low = from / V::lanes * V::lanes;
    high = round_up(to, V::lanes);
    with_rows(u.row_count, [&]<int ROWS>() {
      for_each_run<V>(
          u.key, begin + from, begin + to, u.head_dim, copy,
          [&]<class E>(const char* K, std::ptrdiff_t stride, std::int64_t a, std::int64_t b) {
            dot_rows<V, E, ROWS>(K, stride, b - a, Q, ldq, u.head_dim, S + a - begin);
          });
    });
    const bool factors = u.cosine || u.key.storage == Storage::int8;
    if (factors) set_factors(copy);
    masked = u.mask_kind != MaskKind::none || u.bias.data != nullptr;
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      T* s = S + r * kDecodeChunk;
      for (std::int64_t j = low; j < from; ++j) s[j] = 0;
      for (std::int64_t j = to; j < high; ++j) s[j] = 0;
      if (factors) {
        change(s, [&](reg x, std::int64_t j) { return V::mul(x, V::load(factor + j)); });
      }
      apply_options(s, u.first_row + r);
      masked |= reach[r].begin > begin + from || reach[r].end < begin + to;
    }
    for (std::int64_t r = 0; r < u.row_count; ++r) hide(S + r * kDecodeChunk, r);
    return true;
  }

 private:
  const ScoreUnit& u;
  KeyRange reach[kDecodeRows];
  alignas(64) T iota[V::lanes], factor[kDecodeChunk], bias[kDecodeChunk];

  template <class Change>
  void change(T* s, const Change& to_what) const {
    for (std::int64_t j = low; j < high; j += V::lanes) {
      V::store(s + j, to_what(V::load(s + j), j));
    }
  }

  /// What belongs to the keys alone: the scale of int8, and 1 / |k| for cosines.
  void set_factors(T* copy) {
    read_scales(u.key, begin + from, begin + to, factor + from);
    for (std::int64_t j = from; u.cosine && j < to; ++j) {
      const Rows row = read_tile<V>(u.key, false, begin + j, begin + j + 1, u.head_dim, copy);
      factor[j] *= static_cast<T>(
          inverse_norm<T>(row.data + (begin + j) * row.row_stride, row.column_stride, u.head_dim));
    }
  }

  void apply_options(T* s, std::int64_t row) {
    const std::int64_t head = row % u.group;
    const std::int64_t p = query_of(u, row) + u.offset;
    if (u.softcap && u.softcap[head] > 0) {
      const double c = u.softcap[head] * kLog2E;
      const reg cap = V::set1(static_cast<T>(c)), per_cap = V::set1(static_cast<T>(1 / c));
      change(s, [&](reg x, std::int64_t) { return V::mul(cap, tanh<V>(V::mul(x, per_cap))); });
    }
    if (u.alibi) {
      const reg slope = V::set1(static_cast<T>(-kLog2E * u.alibi[head]));
      change(s, [&](reg x, std::int64_t j) {
        const reg distance = V::sub(V::set1(static_cast<T>(p - begin - j)), V::load(iota));
        return V::fma(slope, V::abs(distance), x);
      });
    }
    if (u.position_bias.table) {
      const auto* table = static_cast<const T*>(u.position_bias.table);
      for (std::int64_t j = from; j < to; ++j) {
        s[j] += table[place(query_of(u, row), p, begin + j)] * static_cast<T>(kLog2E);
      }
    }
    if (u.bias.data) {
      read_bias(row);
      change(s, [&](reg x, std::int64_t j) { return add_any_bias<V>(x, V::load(bias + j)); });
    }
  }

  /// Where the position bias of a query and a key stands in its table.
  std::int64_t place(std::int64_t i, std::int64_t p, std::int64_t key) const {
    const PositionBias& b = u.position_bias;
    if (b.width == 0) return clamp(key - p, -b.reach, b.reach) + b.reach;
    return (i / b.width - key / b.width + b.height - 1) * (2 * b.width - 1) + i % b.width -
           key % b.width + b.width - 1;
  }

  void read_bias(std::int64_t row) {
    const char* at = row_address(u.bias, u.group, row) + (begin + from) * u.bias.column_stride;
    with_storage<V>(u.bias_storage, [&]<class E>() {
      alignas(64) T values[kDecodeChunk];
      widen_row<V, E>(at, u.bias.column_stride, to - from, V::set1(1), values,
                      round_up(to - from, V::lanes));
      for (std::int64_t j = low; j < high; ++j) bias[j] = 0;
      for (std::int64_t j = from; j < to; ++j) bias[j] = values[j - from];
    });
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
    const char* b = u.bias.data ? row_address(u.bias, u.group, row) : nullptr;
    for (std::int64_t j = from; j < to; ++j) {
      const std::int64_t key = begin + j;
      bool unseen = key < reach[r].begin || key >= reach[r].end;
      unseen |= u.mask_kind != MaskKind::none && !sees[j - from];
      unseen |= b && is_minus_infinity<T>(u.bias_storage, b + key * u.bias.column_stride);
      hidden[r][j] = unseen;
      if (unseen) s[j] = nothing;
    }
  }
};

}  // namespace
}  // namespace regard::kernels
