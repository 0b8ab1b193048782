#include "plan/backward_plan.hpp"

#include <algorithm>
#include <numeric>

namespace regard {
namespace {

std::int64_t ceil_div(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }

struct Block {
  std::int64_t first, count;
};

/// Rows that blocks are cut from: those of whole tiles of a block mask, or all of an element's.
std::int64_t segment_rows(const Geometry& g, std::int64_t rows) {
  if (g.mask_kind != kernels::MaskKind::blocks) return rows;
  const std::int64_t of_tile = g.blocks.tiles.size * g.unit_heads;
  return of_tile * std::max<std::int64_t>(1, g.kernel->backward_tiles.query_block / of_tile);
}

/// The blocks of a head set: whole vectors, and as even as can be. They depend on the element's own
/// rows only, so that its gradients do not depend on the others'.
std::vector<Block> blocks_of_rows(const Geometry& g, std::int64_t rows) {
  const kernels::TileSizes& tiles = g.kernel->backward_tiles;
  std::vector<Block> blocks;
  const std::int64_t segment = segment_rows(g, rows);
  for (std::int64_t begin = 0; begin < rows; begin += segment) {
    const std::int64_t here = std::min(segment, rows - begin);
    const std::int64_t vectors = ceil_div(here, tiles.lanes);
    const std::int64_t count = ceil_div(here, tiles.query_block);
    for (std::int64_t n = 0; n < count; ++n) {
      const std::int64_t from = n * vectors / count * tiles.lanes;
      const std::int64_t to = std::min(here, (n + 1) * vectors / count * tiles.lanes);
      blocks.push_back({begin + from, to - from});
    }
  }
  return blocks;
}

}  // namespace

std::vector<BackwardJob> plan_backward(Geometry& g, bool all_in_turn) {
  const kernels::TileSizes& tiles = g.kernel->backward_tiles;
  g.key_tile = keys_a_tile(g, tiles.key_tile);
  std::vector<std::vector<Block>> blocks;
  std::size_t most = 0;
  for (std::int64_t element = 0; element < g.batch; ++element) {
    blocks.push_back(blocks_of_rows(g, g.rows_of(element)));
    most = std::max(most, blocks.back().size());
  }
  std::vector<BackwardJob> jobs;
  std::vector<std::int64_t> last(static_cast<std::size_t>(g.batch * g.kv_heads), -1);
  // The heads one after the other, block by block: jobs that take turns are far apart. The last
  // block comes first, because under a causal mask it has the most work.
  for (std::size_t block = most; block-- > 0;) {
    for (std::int64_t element = 0; element < g.batch; ++element) {
      const auto& own = blocks[static_cast<std::size_t>(element)];
      if (block >= own.size()) continue;
      for (std::int64_t head_set = 0; head_set < g.head_sets(); ++head_set) {
        const std::int64_t kv_head = element * g.kv_heads + head_set * g.unit_heads / g.group;
        auto& before = last[static_cast<std::size_t>(kv_head)];
        const auto index = static_cast<std::int64_t>(jobs.size());
        jobs.push_back({{element, head_set, own[block].first, own[block].count},
                        all_in_turn ? index - 1 : before,
                        kv_head});
        before = index;
      }
    }
  }
  return jobs;
}

std::vector<std::size_t> order_of(const std::vector<BackwardJob>& jobs, int threads,
                                  bool all_in_turn) {
  std::vector<std::size_t> order(jobs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (all_in_turn) return order;
  std::ranges::stable_sort(order, {}, [&](std::size_t n) { return jobs[n].kv_head / threads; });
  return order;
}

}  // namespace regard
