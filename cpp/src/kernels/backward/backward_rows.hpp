// What the backward pass has of each row of a block: Q and dO, packed; D; dQ, and where it goes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backward/score_gradients.hpp"
#include "kernels/blocks/gradient_products.hpp"
#include "kernels/blocks/output.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/scores/scale.hpp"
#include "kernels/simd/base2.hpp"

namespace regard::kernels {
namespace {

/// Whether all of `count` numbers are 0.
template <class T>
inline bool is_zero(const T* x, std::int64_t count) {
  bool zero = true;
  for (std::int64_t c = 0; c < count; ++c) zero &= x[c] == 0;
  return zero;
}

/// to += times * x.
template <class V>
inline void add_row(const typename V::scalar* x, typename V::scalar times, std::int64_t count,
                    char* to, std::ptrdiff_t stride) {
  using T = typename V::scalar;
  using reg = typename V::reg;
  std::int64_t c = 0;
  if (stride == static_cast<std::ptrdiff_t>(sizeof(T))) {
    const reg by = V::set1(times);
    for (; c + V::lanes <= count; c += V::lanes) {
      T* place = reinterpret_cast<T*>(to) + c;
      V::store(place, V::add(V::load(place), V::mul(V::load(x + c), by)));
    }
  }
  for (; c < count; ++c) add_scalar(x[c] * times, to + c * stride);
}

template <class V>
class BackwardRows {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  BackwardRows(const BackwardUnit& unit, ScratchMemory& memory)
      : BackwardRows(unit, memory, {unit.scores.head_dim, unit.value_dim, 0, 0, false}) {}

  static void count(ScratchMemory& memory, const BackwardSizes& sizes) {
    const BackwardUnit none = {};
    BackwardRows(none, memory, sizes);
  }

  T *Q, *dO, *dOt;  ///< rows x columns, times their factors; dO also transposed, by panels
  T* dQ;            ///< rows x columns
  bool finite[QueryBlock<V>::most_panels];  ///< rows of Q and dO of a panel, and their D and lse

  /// Packs Q, dO and dO', and computes D and the sink's part; `copy` has room for a row of O.
  void read_rows(const QueryBlock<V>& block, ScoreGradients<V>& gradients, T* copy) {
    const ScoreUnit& s = u.scores;
    double sinks[V::query_block];
    for (int i = 0; i < block.panel_count; ++i) {
      const Panel<T>& panel = block.panels[i];
      const T* gradient = dO + panel.row * value_columns;
      const char* addresses[V::panel_rows];
      bool numbers = true;
      for (std::int64_t r = 0; r < panel.rows; ++r) {
        numbers &= read_row(panel.row + r, gradients, copy, sinks[panel.row + r]);
        addresses[r] = reinterpret_cast<const char*>(gradient + r * value_columns);
      }
      for (std::int64_t r = panel.row + panel.rows; r < panel.row + panel.ld; ++r) {
        gradients.lse[r] = static_cast<T>(__builtin_inf());  // weighs nothing
        gradients.D[r] = 0;
      }
      for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
        transpose_rows<V>(addresses + r, panel.rows - r, sizeof(T), u.value_dim, V::set1(1),
                          dOt + panel.row * u.value_dim + r, panel.ld);
      }
      for (std::int64_t at = 0; at < panel.rows * columns; ++at) dQ[panel.row * columns + at] = 0;
      finite[i] = numbers &&
                  rows_finite<V>(Q + panel.row * columns, columns, panel.rows, columns) &&
                  rows_finite<V>(gradient, value_columns, panel.rows, value_columns);
    }
    if (!u.dsink) return;
    for (std::int64_t head = 0; head < s.group; ++head) u.dsink[head] = 0;
    for (std::int64_t r = 0; r < s.row_count; ++r) u.dsink[(s.first_row + r) % s.group] -= sinks[r];
  }

  /// scale q . dQ with the query as it was given, of length 1 for cosines: packed ones may have
  /// been multiplied by 0. `copy` has room for a query.
  double derivative_by_factor(std::int64_t r, T* copy) {
    const ScoreUnit& s = u.scores;
    const std::int64_t row = s.first_row + r, head = s.group == 1 ? 0 : row % s.group;
    const T* sum = dQ + r * columns;
    if (is_zero(sum, s.head_dim)) return 0;  // nobody looks, and the query may hold anything
    widen(s.query_storage, s.query, row, s.head_dim, copy, columns);
    double scale = s.scale[head * s.scale_step];
    if (s.cosine) scale *= inverse_norm<T>(reinterpret_cast<char*>(copy), sizeof(T), s.head_dim);
    double dot = 0;
    for (std::int64_t c = 0; c < s.head_dim; ++c) {
      dot += static_cast<double>(copy[c]) * static_cast<double>(sum[c]);
    }
    return scale * dot;
  }

  /// dQ of a row, on its way through the length of the query and its factor, joins the gradient.
  void add_to_query(std::int64_t r) {
    const ScoreUnit& s = u.scores;
    T* sum = dQ + r * columns;
    if (s.cosine && !is_zero(sum, s.head_dim)) {
      remove_component(sum, Q + r * columns, s.head_dim);
    }
    const bool sees = factor[r] - factor[r] == 0 || !is_zero(sum, s.head_dim);  // 0 * NaN
    add_row<V>(sum, sees ? factor[r] : T(0), s.head_dim,
               row_address(u.dquery, s.group, s.first_row + r), u.dquery.column_stride);
  }

 private:
  const BackwardUnit& u;
  std::int64_t columns, value_columns;
  T factor[V::query_block];  ///< what Q was multiplied by, but log2(e)

  BackwardRows(const BackwardUnit& unit, ScratchMemory& memory, const BackwardSizes& sizes)
      : u(unit),
        columns(round_up(sizes.head_dim, V::lanes)),
        value_columns(round_up(sizes.value_dim, V::lanes)) {
    Q = memory.take<T>(V::query_block * columns);
    dO = memory.take<T>(V::query_block * value_columns);
    dOt = memory.take<T>(V::query_block * sizes.value_dim);
    dQ = memory.take<T>(V::query_block * columns);
  }

  /// One row; `sink` becomes its weight times D. Returns whether D and lse are finite, or the row
  /// sees nothing.
  bool read_row(std::int64_t r, ScoreGradients<V>& gradients, T* copy, double& sink) {
    const ScoreUnit& s = u.scores;
    const std::int64_t row = s.first_row + r, head = s.group == 1 ? 0 : row % s.group;
    T* q = Q + r * columns;
    widen(s.query_storage, s.query, row, s.head_dim, q, columns);
    factor[r] = static_cast<T>(query_factor<V, T>(s, row, 1, q, sizeof(T)));
    for (std::int64_t c = 0; c < columns; ++c) q[c] *= factor[r];

    T* gradient = dO + r * value_columns;
    T* O = copy;
    widen(u.out_storage, u.dout, row, u.value_dim, gradient, value_columns);
    widen(u.out_storage, u.out, row, u.value_dim, O, value_columns);
    reg sum = V::zero();
    for (std::int64_t c = 0; c < value_columns; c += V::lanes) {
      sum = V::fma(V::load(gradient + c), V::load(O + c), sum);
    }
    alignas(64) T lanes[V::lanes];
    V::store(lanes, sum);
    double D = 0;
    for (const T lane : lanes) D += static_cast<double>(lane);
    if (D - D != 0 && u.dsink && !sees_a_key<V>(s, row)) D = 0;  // its output is 0 whatever happens
    if (u.dlse.data) D -= static_cast<double>(read<T>(row_address(u.dlse, s.group, row)));
    if (u.dropout.threshold > 0) {
      const T keep = static_cast<T>(u.dropout.keep_factor);
      for (std::int64_t c = 0; c < value_columns; ++c) gradient[c] *= keep;
    }
    const auto lse = static_cast<double>(read<T>(row_address(u.lse, s.group, row)));
    const bool empty = lse == -__builtin_inf();
    sink = 0;
    if (u.dsink && !empty) sink = __builtin_exp(s.sink[head] - lse) * D;
    if (empty) D = 0;
    gradients.D[r] = static_cast<T>(D);
    gradients.lse[r] = empty ? T(0) : static_cast<T>(lse * kLog2E);
    return D - D == 0 && (empty || lse - lse == 0);
  }

  void widen(Storage storage, const Rows& rows, std::int64_t row, std::int64_t count, T* to,
             std::int64_t width) const {
    with_storage<V>(storage, [&]<class S>() {
      widen_row<V, S>(row_address(rows, u.scores.group, row), rows.column_stride, count, V::set1(1),
                      to, width);
    });
  }
};

}  // namespace
}  // namespace regard::kernels
