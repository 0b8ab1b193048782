#include "plan.hpp"

#include <algorithm>

#include "dispatch.hpp"

namespace regard {
namespace {

std::int64_t ceil_div(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }

/// Below this many multiply-adds a call stays on its thread: about 20 us at 100 GFLOP/s, and waking
/// a second thread takes a few.
constexpr double kSerialWork = 1e6;

/// Enough for dynamic scheduling to even out the units of a causal mask: the last ones to finish
/// are then a small part of a thread's share.
constexpr std::int64_t kUnitsPerThread = 16;

}  // namespace

void plan(Geometry& g) {
  g.table = &active_kernels();
  g.kernel = g.dtype == DType::float32 ? &g.table->forward_f32 : &g.table->forward_f64;
  // Scratch for a short sequence holds that sequence, not a whole tile.
  g.key_tile = std::clamp<std::int64_t>(g.keys, 1, g.kernel->key_tile);

  const std::int64_t rows = g.group * g.queries;
  const double reach = static_cast<double>(
      std::min(g.keys, std::min(g.left, kernels::kUnbounded / 4) + std::min(g.right, g.keys) + 1));
  const double work = static_cast<double>(g.batch * g.kv_heads * rows) * std::max(reach, 1.0) *
                      static_cast<double>(g.head_dim + g.value_dim);
  if (work < kSerialWork) g.threads = 1;

  // A block of several panels fetches each tile of keys once for all of them; but the threads need
  // enough units to share. A row's result does not depend on its block, so threads may matter here.
  const std::int64_t panels = ceil_div(rows, g.kernel->panel_rows);
  for (std::int64_t share = g.kernel->query_block / g.kernel->panel_rows; share > 0; --share) {
    g.blocks = ceil_div(panels, share);
    g.units = g.batch * g.kv_heads * g.blocks;
    if (g.units >= kUnitsPerThread * g.threads) break;
  }
  g.threads = static_cast<int>(std::clamp<std::int64_t>(g.units, 1, g.threads));
  g.scratch_bytes = g.kernel->scratch_bytes(g.head_dim, g.value_dim, g.key_tile);
}

RowRange block_rows(const Geometry& g, std::int64_t block) {
  // Rows are cut into the fewest panels of whole vectors, as even as can be, and panels into
  // blocks: narrow panels use the register tiles less well.
  const std::int64_t rows = g.group * g.queries, lanes = g.kernel->lanes;
  const std::int64_t vectors = ceil_div(rows, lanes);
  const std::int64_t panels = ceil_div(vectors, g.kernel->panel_rows / lanes);
  const auto start = [&](std::int64_t index) {
    return std::min(rows, index * panels / g.blocks * vectors / panels * lanes);
  };
  return {start(block), start(block + 1) - start(block)};
}

}  // namespace regard
