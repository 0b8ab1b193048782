#include "plan/score_mod_calls.hpp"

#include <algorithm>

#include "plan/decode_plan.hpp"

namespace regard {

std::int64_t score_mod_calls(const Tiling& tiling, bool decoded) {
  const CheckedProblem& problem = *tiling.problem;
  if (!problem.has_score_mod()) return 0;
  std::int64_t calls = 0;
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    const bool decode = decoded && decodes(tiling, element);
    const std::int64_t tile = decode ? kernels::kDecodeChunk : tiling.key_tile;
    const std::int64_t rows = tiling.rows_of(element), keys = problem.keys_of(element);
    std::int64_t step = decode ? kernels::kDecodeRows : tiling.tiles.panel_rows;
    if (problem.score_mod.rows != nullptr) step = 1;
    for (std::int64_t head_set = 0; head_set < tiling.head_sets(); ++head_set) {
      const auto [begin, end] = problem.reach_of(element, head_set * tiling.unit_heads);
      for (std::int64_t row = 0; row < rows; row += step) {
        const std::int64_t last = std::min(row + step, rows) - 1;
        const std::int64_t from =
            std::clamp<std::int64_t>(row / tiling.unit_heads + begin, 0, keys);
        const std::int64_t to =
            std::clamp<std::int64_t>(last / tiling.unit_heads + end, from, keys);
        if (to > from) calls += (to - 1) / tile - from / tile + 1;
      }
    }
  }
  return calls;
}

}  // namespace regard
