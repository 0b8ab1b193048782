#pragma once

#include <cstdint>

#include "plan/tiling.hpp"

namespace regard {

/// How often one pass over the scores calls the function of the caller's, if no mask hides a tile:
/// once a panel and tile, or once a row and tile where it has an address. `decoded`: elements with
/// few rows are.
std::int64_t score_mod_calls(const Tiling& tiling, bool decoded);

}  // namespace regard
