// How a checked problem is run: kernel, tile sizes, units of work, threads, scratch.
#pragma once

#include "validate/geometry.hpp"

namespace regard {

/// Fills in the planned part of a checked geometry. The tiles of keys depend on shapes and options
/// alone, never on the number of threads, so that results do not.
void plan(Geometry& geometry);

/// The same for work that keeps the heads apart and whose sums over rows must not depend on the
/// number of threads: blocks are as large as they can be.
void plan_by_head(Geometry& geometry);

/// Keys a tile of at most `most`: none longer than the sequence, none across tiles of a block mask.
std::int64_t keys_a_tile(const Geometry& geometry, std::int64_t most);

/// A unit of work: rows [first, first + count) of the heads of one set, of one batch element; or,
/// if they are decoded, all its rows and these groups of keys.
struct Unit {
  std::int64_t element, head_set, first, count;
  bool decodes = false;
  std::int64_t part = 0;  ///< where the states of the set's groups begin, if they are split
};

/// The keys that a decoded element can reach, in groups: group n has `keys` keys from first_key +
/// n * keys on. They depend on the element alone, so that its result does too.
struct KeyGroups {
  std::int64_t first_key, keys, count;
};
KeyGroups key_groups(const Geometry& geometry, std::int64_t element);

/// Unit `index` of the plan; count may be 0 or less.
Unit unit_at(const Geometry& geometry, std::int64_t index);

/// Blocks that the rows of a head set are cut into, and one of them.
std::int64_t blocks_of(const Geometry& geometry, std::int64_t element);
Unit block_at(const Geometry& geometry, std::int64_t element, std::int64_t head_set,
              std::int64_t block);

}  // namespace regard
