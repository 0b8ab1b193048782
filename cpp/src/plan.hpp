// How a checked problem is run: kernel, tile sizes, units of work, threads, scratch.
#pragma once

#include "geometry.hpp"

namespace regard {

/// Fills in the planned part of a checked geometry. The tiles of keys depend on shapes and options
/// alone, never on the number of threads, so that results do not.
void plan(Geometry& geometry);

/// The same for work that keeps the heads apart and whose sums over rows must not depend on the
/// number of threads: blocks are as large as they can be.
void plan_by_head(Geometry& geometry);

/// Keys a tile of at most `most`: none longer than the sequence, none across tiles of a block mask.
std::int64_t keys_a_tile(const Geometry& geometry, std::int64_t most);

/// A unit of work: rows [first, first + count) of the heads of one set, of one batch element.
struct Unit {
  std::int64_t element, head_set, first, count;
};

/// Unit `index` of the plan; count may be 0 or less.
Unit unit_at(const Geometry& geometry, std::int64_t index);

/// Blocks that the rows of a head set are cut into, and one of them.
std::int64_t blocks_of(const Geometry& geometry, std::int64_t element);
Unit block_at(const Geometry& geometry, std::int64_t element, std::int64_t head_set,
              std::int64_t block);

}  // namespace regard
