// Attention of a few query rows to many keys, which is bound by the memory that is read: the dot
// form, with the head_dim in the lanes and all rows of a kv head sharing the pass.
//
//   for each chunk of keys (absolute multiples of kDecodeChunk):
//       S = Q K'         several keys and all rows at a time; then the options, then the masks
//       m, l follow;  P = 2^(S - m)
//       C = P V          from zero, key by key;  O = alpha O + C
//
// Chunks make groups, and the states (m, l, O) of the groups are merged in their order, by one
// thread or many, so that the result does not depend on who formed which. A score does not depend
// on the keys it is formed together with, so neither pages nor layouts show in it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/output.hpp"
#include "kernels/decode/decode_products.hpp"
#include "kernels/decode/decode_scores.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/softmax/dropout.hpp"
#include "kernels/softmax/merge.hpp"
#include "kernels/tiles/stored_rows.hpp"

namespace regard::kernels {
namespace {

/// What the rows have come to over some of the keys.
template <class T>
struct DecodeState {
  T* m;  ///< kDecodeRows references of the exponents
  T* l;  ///< kDecodeRows sums of 2^(s - m)
  T* O;  ///< kDecodeRows x columns

  static std::int64_t size(std::int64_t columns) { return kDecodeRows * (columns + 2); }
  static DecodeState in(T* memory) {
    return {memory, memory + kDecodeRows, memory + 2 * kDecodeRows};
  }

  void clear(std::int64_t rows, std::int64_t columns) const {
    for (std::int64_t r = 0; r < rows; ++r) m[r] = -static_cast<T>(__builtin_inf());
    for (std::int64_t r = 0; r < rows; ++r) l[r] = 0;
    for (std::int64_t i = 0; i < rows * columns; ++i) O[i] = 0;
  }
};

template <class T>
struct DecodeScratch {
  T *Q, *S, *C, *state, *total, *copy;

  DecodeScratch(ScratchMemory& memory, std::int64_t width, std::int64_t columns) {
    Q = memory.take<T>(kDecodeRows * width);
    S = memory.take<T>(kDecodeRows * kDecodeChunk);
    C = memory.take<T>(kDecodeRows * columns);
    state = memory.take<T>(DecodeState<T>::size(columns));
    total = memory.take<T>(DecodeState<T>::size(columns));
    copy = memory.take<T>(kRunRows * (width > columns ? width : columns));
  }
};

template <class V>
class DecodeBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  DecodeBlock(const DecodeUnit& unit, ScratchMemory memory)
      : d(unit),
        u(unit.forward),
        rows(u.scores.row_count),
        width(round_up(u.scores.head_dim, V::lanes)),
        columns(round_up(u.value_dim, V::lanes)),
        scratch(memory, width, columns),
        scores(u.scores),
        dropout(u.scores, u.dropout) {}

  /// The states of the unit's groups: kept for `finish`, or merged at once and written.
  void run() {
    scores.pack(scratch.Q, width);
    const auto total = DecodeState<T>::in(scratch.total);
    const bool merges = d.parts == nullptr && d.groups > 1;
    if (merges) total.clear(rows, columns);
    for (std::int64_t group = d.first_group; group < d.last_group; ++group) {
      const auto state = d.parts ? part(group) : merges ? DecodeState<T>::in(scratch.state) : total;
      // As in forward.hpp: masked values that are not finite show in O, and are then left out.
      if (attend(group, state, false) && !all_finite<V>(state.O, rows * columns)) {
        attend(group, state, true);
      }
      if (merges) merge(total, state);
    }
    if (d.parts == nullptr) write_output<V>(u, total.O, columns, total.m, total.l, total.l);
  }

  /// Merges the states of all groups, and writes what they come to.
  void finish() {
    const auto total = DecodeState<T>::in(scratch.total);
    total.clear(rows, columns);
    for (std::int64_t group = 0; group < d.groups; ++group) merge(total, part(group));
    write_output<V>(u, total.O, columns, total.m, total.l, total.l);
  }

 private:
  const DecodeUnit& d;
  const ForwardUnit& u;
  std::int64_t rows, width, columns;
  DecodeScratch<T> scratch;
  DecodeScores<V> scores;
  DropoutRows<V> dropout;

  DecodeState<T> part(std::int64_t group) const {
    return DecodeState<T>::in(static_cast<T*>(d.parts) + group * DecodeState<T>::size(columns));
  }

  /// True if something was hidden from somebody.
  bool attend(std::int64_t group, const DecodeState<T>& state, bool careful) {
    state.clear(rows, columns);
    bool masked = false;
    const std::int64_t begin = d.first_key + group * d.group_keys;
    const std::int64_t after = begin + d.group_keys, keys = u.scores.key_count;
    const std::int64_t end = after < keys ? after : keys;
    for (std::int64_t chunk = begin; chunk < end; chunk += kDecodeChunk) {
      const std::int64_t to = chunk + kDecodeChunk < end ? chunk + kDecodeChunk : end;
      if (!scores.set_chunk(chunk, to, scratch.Q, width, scratch.S, scratch.copy, d.fetch))
        continue;
      masked |= scores.masked;
      alignas(64) T alpha[kDecodeRows];
      for (std::int64_t r = 0; r < rows; ++r) alpha[r] = weigh(r, state);
      if (u.value.scales) scale_weights();
      if (u.dropout.threshold > 0) drop();
      for (std::int64_t i = 0; i < kDecodeRows * columns; ++i) scratch.C[i] = 0;
      careful ? add_values_carefully() : add_values();
      for (std::int64_t r = 0; r < rows; ++r) {
        combine<V>(alpha[r], state.O + r * columns, 1, scratch.C + r * columns, columns);
      }
    }
    return masked;
  }

  /// P = 2^(S - m) of row r in place, with m and l; returns what O has to be multiplied by.
  T weigh(std::int64_t r, const DecodeState<T>& state) {
    T* s = scratch.S + r * kDecodeChunk;
    alignas(64) T lanes[V::lanes];
    reg largest = V::set1(minus_infinity<V>());
    for (std::int64_t j = scores.low; j < scores.high; j += V::lanes) {
      largest = V::max(V::load(s + j), largest);
    }
    V::store(lanes, largest);
    T m = state.m[r];
    for (const T x : lanes) m = x > m ? x : m;
    const reg reference = V::set1(m == minus_infinity<V>() ? T(0) : m);
    reg sum = V::zero();
    for (std::int64_t j = scores.low; j < scores.high; j += V::lanes) {
      const reg p = V::exp2(V::sub(V::load(s + j), reference));
      V::store(s + j, p);
      sum = V::add(sum, p);
    }
    V::store(lanes, sum);
    for (int half = V::lanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    const T alpha = rescale<V>(state.m[r], m);
    state.m[r] = m;
    state.l[r] = alpha * state.l[r] + lanes[0];
    return alpha;
  }

  /// The scales of int8 values go with the weights.
  void scale_weights() {
    alignas(64) T scale[kDecodeChunk];
    for (std::int64_t j = scores.low; j < scores.high; ++j) scale[j] = 0;
    read_scales(u.value, scores.begin + scores.from, scores.begin + scores.to, scale + scores.from);
    for (std::int64_t r = 0; r < rows; ++r) {
      T* p = scratch.S + r * kDecodeChunk;
      for (std::int64_t j = scores.low; j < scores.high; j += V::lanes) {
        V::store(p + j, V::mul(V::load(p + j), V::load(scale + j)));
      }
    }
  }

  void drop() {
    constexpr std::int64_t step = 16;
    alignas(64) T kept[step * V::lanes];
    for (std::int64_t r = 0; r < rows; r += V::lanes) {
      for (std::int64_t j = scores.from; j < scores.to; j += step) {
        const std::int64_t count = scores.to - j < step ? scores.to - j : step;
        for (auto& one : kept) one = 1;
        dropout.apply(kept, V::lanes, r, scores.begin + j, count);
        for (std::int64_t i = 0; i < V::lanes && r + i < rows; ++i) {
          for (std::int64_t n = 0; n < count; ++n) {
            scratch.S[(r + i) * kDecodeChunk + j + n] *= kept[n * V::lanes + i];
          }
        }
      }
    }
  }

  void add_values() {
    with_rows(rows, [&]<int ROWS>() {
      for_each_value([&]<class E>(const char* values, std::ptrdiff_t stride, std::int64_t a,
                                  std::int64_t b, RowFetch& fetch) {
        weigh_rows<V, E, ROWS>(values, stride, b - a, u.value_dim, scratch.S + a - scores.begin,
                               scratch.C, columns, fetch);
      });
    });
  }

  /// The same sums without the values that are hidden.
  void add_values_carefully() {
    for_each_value([&]<class E>(const char* values, std::ptrdiff_t stride, std::int64_t a,
                                std::int64_t b, RowFetch&) {
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t key = a; key < b; ++key) {
          const std::int64_t j = key - scores.begin;
          if (scores.masked && scores.hidden[r][j]) continue;
          const reg p = V::set1(scratch.S[r * kDecodeChunk + j]);
          const auto* row = reinterpret_cast<const E*>(values + (key - a) * stride);
          for (std::int64_t c = 0; c < u.value_dim; c += V::lanes) {
            T* to = scratch.C + r * columns + c;
            V::store(to, V::fma(p, load_columns<V>(row, c, u.value_dim), V::load(to)));
          }
        }
      }
    });
  }

  template <class Body>
  void for_each_value(const Body& body) {
    for_each_run<V>(u.value, d.fetch, scores.begin + scores.from, scores.begin + scores.to,
                    u.scores.key_count, u.value_dim, scratch.copy, body);
  }

  void merge(const DecodeState<T>& total, const DecodeState<T>& state) const {
    for (std::int64_t r = 0; r < rows; ++r) {
      const T m = state.m[r] > total.m[r] ? state.m[r] : total.m[r];
      const T a = rescale<V>(total.m[r], m), b = rescale<V>(state.m[r], m);
      combine<V>(a, total.O + r * columns, b, state.O + r * columns, columns);
      total.l[r] = a * total.l[r] + b * state.l[r];
      total.m[r] = m;
    }
  }
};

template <class V>
void decode(const DecodeUnit& unit) {
  DecodeBlock<V>(unit, {static_cast<char*>(unit.forward.scratch), 0}).run();
}

template <class V>
void finish_decode(const DecodeUnit& unit) {
  DecodeBlock<V>(unit, {static_cast<char*>(unit.forward.scratch), 0}).finish();
}

template <class V>
std::size_t decode_state_bytes(std::int64_t value_dim) {
  using T = typename V::scalar;
  return static_cast<std::size_t>(DecodeState<T>::size(round_up(value_dim, V::lanes))) * sizeof(T);
}

}  // namespace
}  // namespace regard::kernels
