// The parts of a block of query rows and of a tile of keys that meet.
#pragma once

#include <cstdint>

namespace regard::kernels {
namespace {

/// Rows [row, row + rows) of a block, in `ld` lanes.
struct Panel {
  std::int64_t row, rows, ld;
};

/// Keys [begin, begin + count) of a tile, for one panel.
struct Keys {
  std::int64_t begin, count;
  bool edged;  ///< some row of the panel does not see some of them for its position
};

}  // namespace
}  // namespace regard::kernels
