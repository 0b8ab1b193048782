#include "plan/tiling.hpp"

#include <algorithm>

#include "isa/dispatch.hpp"

namespace regard {
namespace {

/// Below this many multiply-adds a call stays on its thread: about 20 us at 100 GFLOP/s, and waking
/// a second thread takes a few.
constexpr double kSerialWork = 1e6;

std::int64_t keys_a_tile(const CheckedProblem& problem, std::int64_t most) {
  if (problem.mask_kind != kernels::MaskKind::blocks) {
    return std::clamp<std::int64_t>(problem.keys, 1, most);
  }
  const std::int64_t size = problem.blocks.tiles.size;
  std::int64_t tile = size;
  for (std::int64_t parts = 2; tile > most || size % tile != 0; ++parts) {
    tile = size / parts / 16 * 16;  // 16 divides the size, so this ends
  }
  return tile;
}

Tiling tile(const CheckedProblem& problem, std::int64_t unit_heads,
            kernels::TileSizes kernels::Kernels::*sizes) {
  Tiling tiling;
  tiling.problem = &problem;
  tiling.table = &active_kernels();
  tiling.kernel =
      problem.dtype == DType::float32 ? &tiling.table->floats->f32 : &tiling.table->floats->f64;
  tiling.tiles = tiling.kernel->*sizes;
  tiling.key_tile = keys_a_tile(problem, tiling.tiles.key_tile);
  tiling.unit_heads = unit_heads;
  tiling.segment = std::max<std::int64_t>(unit_heads * problem.queries, 1);
  if (problem.mask_kind == kernels::MaskKind::blocks) {
    tiling.segment = rows_of_tiles(problem, unit_heads, tiling.tiles.panel_rows);
  }
  tiling.cut(tiling.tiles.query_block / tiling.tiles.panel_rows);
  return tiling;
}

std::int64_t one_head(const CheckedProblem& problem) {
  return std::min<std::int64_t>(problem.group, 1);
}

std::int64_t heads_a_unit(const CheckedProblem& problem) {
  const bool apart = problem.left.differ() || problem.right.differ() ||
                     problem.blocks.head_stride != 0 || problem.position_bias.table != nullptr;
  return apart ? one_head(problem) : problem.group;
}

}  // namespace

Tiling tile_by_group(const CheckedProblem& problem) {
  return tile(problem, heads_a_unit(problem), &kernels::Kernels::tiles);
}

Tiling tile_by_head(const CheckedProblem& problem) {
  return tile(problem, one_head(problem), &kernels::Kernels::tiles);
}

Tiling tile_backward(const CheckedProblem& problem) {
  return tile(problem, heads_a_unit(problem), &kernels::Kernels::backward_tiles);
}

std::int64_t rows_of_tiles(const CheckedProblem& problem, std::int64_t unit_heads,
                           std::int64_t wanted) {
  const std::int64_t rows = problem.blocks.tiles.size * std::max<std::int64_t>(unit_heads, 1);
  return rows * std::max<std::int64_t>(1, wanted / rows);
}

void Tiling::cut(std::int64_t panels) {
  segment_blocks = ceil_div(ceil_div(segment, tiles.panel_rows), panels);
}

std::int64_t Tiling::blocks_of(std::int64_t element) const {
  return ceil_div(rows_of(element), segment) * segment_blocks;
}

Unit Tiling::block_at(std::int64_t element, std::int64_t head_set, std::int64_t block) const {
  // A segment is cut into the fewest panels of whole vectors, as even as can be, and panels into
  // blocks: narrow panels use the register tiles less well.
  const std::int64_t begin = block / segment_blocks * segment;
  const std::int64_t rows = std::min(segment, rows_of(element) - begin);
  const std::int64_t vectors = ceil_div(rows, tiles.lanes);
  const std::int64_t panels = ceil_div(vectors, tiles.panel_rows / tiles.lanes);
  const auto start = [&](std::int64_t at) {
    return std::min(rows, at * panels / segment_blocks * vectors / panels * tiles.lanes);
  };
  const std::int64_t at = block % segment_blocks;
  return {element, head_set, begin + start(at), start(at + 1) - start(at)};
}

double multiply_adds(const CheckedProblem& problem, std::int64_t element) {
  const std::int64_t left = problem.left.of(0), right = problem.right.of(0);
  const std::int64_t keys = problem.keys_of(element);
  const auto reach =
      static_cast<double>(std::min(keys, std::min(left, keys) + std::min(right, keys) + 1));
  return static_cast<double>(problem.query_heads * problem.queries_of(element)) *
         std::max(reach, 1.0) * static_cast<double>(problem.head_dim + problem.value_dim);
}

int threads_for(const CheckedProblem& problem, double multiply_adds, std::int64_t units) {
  if (multiply_adds < kSerialWork) return 1;
  return static_cast<int>(std::clamp<std::int64_t>(units, 1, problem.threads));
}

}  // namespace regard
