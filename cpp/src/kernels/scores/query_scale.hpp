// A factor for each query: temperatures by position (Llama 4), log n scaling (Qwen), scalable
// softmax. It joins the scale of Q' (scale.hpp), so that no score is touched for it.
//
//   s_ij = scale f_i q_i.k_j,   df_i = scale q_i . sum_j dS_ij k_j
#pragma once

#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/score_option.hpp"
#include "kernels/tiles/pack.hpp"

namespace regard::kernels {
namespace {

/// df_i is not divided by f_i, which may be 0.
template <class V>
class QueryScaleGradient : public NoGradient<V> {
 public:
  QueryScaleGradient(const BackwardUnit& unit, ScratchMemory& memory)
      : NoGradient<V>(unit, memory), group(unit.scores.group), to(unit.dquery_scale) {}

  static bool is_wanted(const BackwardUnit& unit) { return unit.dquery_scale.data != nullptr; }
  static bool wants_rows(const BackwardUnit& unit) { return is_wanted(unit); }

  void add_row(std::int64_t row, double by_factor) {
    add_scalar(by_factor, row_address(to, group, row));
  }

 private:
  std::int64_t group;
  Rows to;
};

template <class V>
struct QueryScale : ScoreOption<V> {
  using T = typename V::scalar;
  using Gradient = QueryScaleGradient<V>;
  static constexpr bool changes_scores = false, scales_queries = true;

  static bool is_on(const ScoreUnit& u) { return u.query_scale.data != nullptr; }
  static double query_factor(const ScoreUnit& u, std::int64_t row) {
    return read<double>(row_address(u.query_scale, u.group, row));
  }
};

}  // namespace
}  // namespace regard::kernels
