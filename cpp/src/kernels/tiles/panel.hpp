// The parts of a block of query rows and of a tile of keys that meet.
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::kernels {
namespace {

/// Rows [row, row + rows) of a block, in `ld` lanes.
template <class T>
struct Panel {
  std::int64_t row, rows, ld;
  T* Qt;  ///< head_dim x rows, or what a product packs
};

/// Keys [begin, begin + count) of a tile, for one panel.
template <class T>
struct Keys {
  std::int64_t begin, count;
  const T* K;
  std::ptrdiff_t ldk;
  bool edged;  ///< some row of the panel does not see some of them for its position
};

}  // namespace
}  // namespace regard::kernels
