#include "plan/plan.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "isa/dispatch.hpp"

namespace regard {
namespace {

std::int64_t ceil_div(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }

/// Below this many multiply-adds a call stays on its thread: about 20 us at 100 GFLOP/s, and waking
/// a second thread takes a few.
constexpr double kSerialWork = 1e6;

/// Enough for dynamic scheduling to even out the units of a causal mask: the last ones to finish
/// are then a small part of a thread's share.
constexpr std::int64_t kUnitsPerThread = 16;

/// Most groups of keys a head: states of that many are kept until they are merged. Heads enough to
/// give every thread kHeadsPerThread of them are not split.
constexpr std::int64_t kMostGroups = 32, kHeadsPerThread = 8;

/// Decoding waits for memory: a key or value costs as much as this many multiply-adds.
constexpr double kDecodeWork = 10;

/// Heads that share keys and values share the pass over them, unless an option gives each of them
/// another set of keys to see, or another table.
std::int64_t heads_a_unit(const Geometry& g) {
  const bool apart = g.left.differ() || g.right.differ() || g.blocks.head_stride != 0 ||
                     g.position_bias.table != nullptr;
  return apart ? std::min<std::int64_t>(g.group, 1) : g.group;
}

double work_of(const Geometry& g, std::int64_t element) {
  if (g.decodes(element)) {
    const KeyGroups groups = key_groups(g, element);
    return kDecodeWork * static_cast<double>(g.head_sets() * groups.keys * groups.count) *
           static_cast<double>(g.head_dim + g.value_dim);
  }
  const std::int64_t left = g.left.of(0), right = g.right.of(0);
  const std::int64_t keys = g.keys_of(element);
  const auto reach = static_cast<double>(
      std::min(keys, std::min(left, kernels::kUnbounded / 4) + std::min(right, keys) + 1));
  return static_cast<double>(g.query_heads * g.queries_of(element)) * std::max(reach, 1.0) *
         static_cast<double>(g.head_dim + g.value_dim);
}

bool elements_differ(const Geometry& g) {
  const bool reach_differs = !g.key_lengths.empty() || !g.query_offsets.empty();
  return !g.query_starts.empty() || !g.query_lengths.empty() ||
         (reach_differs && g.batch > 0 && g.decodes(0));
}

/// Units that the work of a head set is cut into.
std::int64_t units_of(const Geometry& g, std::int64_t element) {
  if (!g.decodes(element)) return blocks_of(g, element);
  return g.split ? key_groups(g, element).count : 1;
}

/// Cuts the rows of each head set into blocks, `panels` panels each.
void cut(Geometry& g, std::int64_t panels) {
  g.segment_blocks = ceil_div(ceil_div(g.segment, g.kernel->tiles.panel_rows), panels);
  const auto parts_of = [&](std::int64_t element) {
    return g.split && g.decodes(element) ? g.head_sets() * units_of(g, element) : 0;
  };
  if (!elements_differ(g)) {
    g.units = g.batch * g.head_sets() * units_of(g, 0);
    g.parts = g.batch * parts_of(0);
    return;
  }
  g.first_unit.assign(1, 0);
  g.first_part.assign(1, 0);
  for (const std::int64_t element : g.elements) {
    g.first_unit.push_back(g.first_unit.back() + g.head_sets() * units_of(g, element));
    g.first_part.push_back(g.first_part.back() + parts_of(element));
  }
  g.units = g.first_unit.back();
  g.parts = g.first_part.back();
}

/// What does not depend on the threads.
void choose_tiles(Geometry& g, std::int64_t unit_heads) {
  g.table = &active_kernels();
  g.kernel = g.dtype == DType::float32 ? &g.table->floats->f32 : &g.table->floats->f64;
  const kernels::TileSizes& tiles = g.kernel->tiles;
  g.key_tile = keys_a_tile(g, tiles.key_tile);
  g.unit_heads = unit_heads;
  g.segment = std::max<std::int64_t>(g.unit_heads * g.queries, 1);
  if (g.mask_kind == kernels::MaskKind::blocks) {
    // A panel that lies in two rows of tiles does the work of both.
    const std::int64_t rows = g.blocks.tiles.size * std::max<std::int64_t>(g.unit_heads, 1);
    g.segment = rows * std::max<std::int64_t>(1, tiles.panel_rows / rows);
  }
}

}  // namespace

std::int64_t keys_a_tile(const Geometry& g, std::int64_t most) {
  if (g.mask_kind != kernels::MaskKind::blocks) return std::clamp<std::int64_t>(g.keys, 1, most);
  std::int64_t tile = g.blocks.tiles.size;
  for (std::int64_t parts = 2; tile > most || g.blocks.tiles.size % tile != 0; ++parts) {
    tile = g.blocks.tiles.size / parts / 16 * 16;  // 16 divides the size, so this ends
  }
  return tile;
}

KeyGroups key_groups(const Geometry& g, std::int64_t element) {
  const std::int64_t keys = g.keys_of(element), p = g.offset_of(element);
  const std::int64_t last = p + g.queries_of(element) - 1;
  const std::int64_t begin = std::clamp<std::int64_t>(p - g.left.most(), 0, keys);
  const std::int64_t end = std::clamp<std::int64_t>(last + g.right.most() + 1, begin, keys);
  const std::int64_t first = begin / kernels::kDecodeChunk * kernels::kDecodeChunk;
  const std::int64_t chunks = ceil_div(end - first, kernels::kDecodeChunk);
  const std::int64_t each = std::max<std::int64_t>(ceil_div(chunks, kMostGroups), 1);
  return {first, each * kernels::kDecodeChunk, std::max<std::int64_t>(ceil_div(chunks, each), 1)};
}

std::int64_t blocks_of(const Geometry& g, std::int64_t element) {
  return ceil_div(g.rows_of(element), g.segment) * g.segment_blocks;
}

void plan(Geometry& g) {
  choose_tiles(g, heads_a_unit(g));
  const bool all_bfloat16 = std::ranges::all_of(
      std::array{&g.query, &g.key, &g.value},
      [](const Operand* x) { return x->storage == kernels::Storage::bfloat16; });
  // Cosines need vectors of length 1, which are no bfloat16.
  g.dots = all_bfloat16 && !g.cosine ? g.table->bf16 : nullptr;
  g.decoding = true;
  if (g.batch > 0) {
    double work = elements_differ(g) ? 0 : work_of(g, 0) * static_cast<double>(g.batch);
    if (elements_differ(g)) {  // the largest pieces first, so that none is left to the end
      g.elements.resize(static_cast<std::size_t>(g.batch));
      std::iota(g.elements.begin(), g.elements.end(), 0);
      std::ranges::stable_sort(g.elements, std::greater<>(),
                               [&](std::int64_t element) { return work_of(g, element); });
      for (const std::int64_t element : g.elements) work += work_of(g, element);
    }
    if (work < kSerialWork) g.threads = 1;
  }
  g.split = g.threads > 1 && g.batch * g.head_sets() < kHeadsPerThread * g.threads;

  const kernels::TileSizes& tiles = g.kernel->tiles;
  // A block of several panels fetches each tile of keys once for all of them; but the threads need
  // enough units to share. A row's result does not depend on its block, so threads may matter here.
  for (std::int64_t panels = tiles.query_block / tiles.panel_rows; panels > 0; --panels) {
    if (g.batch > 0) cut(g, panels);
    if (g.units >= kUnitsPerThread * g.threads) break;
  }
  g.threads = static_cast<int>(std::clamp<std::int64_t>(g.units, 1, g.threads));
  const kernels::ScratchSizes sizes = {g.head_dim, g.value_dim, g.key_tile, 0};
  g.scratch_bytes = g.kernel->scratch_bytes(sizes);
  if (g.dots) g.scratch_bytes = std::max(g.scratch_bytes, g.dots->scratch_bytes(sizes));
}

void plan_by_head(Geometry& g) {
  choose_tiles(g, std::min<std::int64_t>(g.group, 1));
  g.decoding = false;
  const kernels::TileSizes& tiles = g.kernel->tiles;
  g.elements.clear();
  g.segment_blocks =
      ceil_div(ceil_div(g.segment, tiles.panel_rows), tiles.query_block / tiles.panel_rows);
}

Unit unit_at(const Geometry& g, std::int64_t index) {
  std::int64_t element, part = 0;
  if (g.elements.empty()) {
    const std::int64_t per_element = g.head_sets() * units_of(g, 0);
    element = index / per_element;
    if (g.parts > 0) part = element * per_element;
    index %= per_element;
  } else {
    const auto after = std::ranges::upper_bound(g.first_unit, index);
    const auto place = static_cast<std::size_t>(after - g.first_unit.begin() - 1);
    element = g.elements[place];
    part = g.first_part[place];
    index -= g.first_unit[place];
  }
  const std::int64_t units = units_of(g, element), head_set = index / units;
  if (g.decodes(element)) {
    if (!g.split) return {element, head_set, 0, key_groups(g, element).count, true, 0};
    return {element, head_set, index % units, 1, true, part + head_set * units};
  }
  // Blocks of one head follow each other, so that its keys and values stay in the cache; the last
  // block comes first, because under a causal mask it has the most work.
  return block_at(g, element, head_set, units - 1 - index % units);
}

Unit block_at(const Geometry& g, std::int64_t element, std::int64_t head_set, std::int64_t block) {
  // A segment is cut into the fewest panels of whole vectors, as even as can be, and panels into
  // blocks: narrow panels use the register tiles less well.
  const std::int64_t begin = block / g.segment_blocks * g.segment;
  const std::int64_t rows = std::min(g.segment, g.rows_of(element) - begin);
  const kernels::TileSizes& tiles = g.kernel->tiles;
  const std::int64_t vectors = ceil_div(rows, tiles.lanes);
  const std::int64_t panels = ceil_div(vectors, tiles.panel_rows / tiles.lanes);
  const auto start = [&](std::int64_t at) {
    return std::min(rows, at * panels / g.segment_blocks * vectors / panels * tiles.lanes);
  };
  const std::int64_t at = block % g.segment_blocks;
  return {element, head_set, begin + start(at), start(at + 1) - start(at)};
}

}  // namespace regard
