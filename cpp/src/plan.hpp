// How a checked problem is run: kernel, tile sizes, units of work, threads, scratch.
#pragma once

#include "geometry.hpp"

namespace regard {

/// Fills in the planned part of a checked geometry. The tiles of keys depend on shapes alone, never
/// on the number of threads, so that results do not.
void plan(Geometry& geometry);

/// The rows [first, first + count) of a kv head that block `block` covers.
struct RowRange {
  std::int64_t first, count;
};
RowRange block_rows(const Geometry& geometry, std::int64_t block);

}  // namespace regard
