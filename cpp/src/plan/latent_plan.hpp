// Latent attention: values that are columns of the keys, and many heads for one of them.
#pragma once

#include <cstdint>

#include "plan/decode_plan.hpp"

namespace regard {

/// Whether values are the first columns of the keys, in the same memory.
bool value_in_key(const CheckedProblem& problem);

/// Whether heads and keys are those of latent attention: keys wider than values, and so many heads
/// for one of them that a token alone is not decoded.
bool is_latent(const Tiling& tiling);

/// The keys of an element that is not decoded, in the groups that units share: more than one of
/// latent attention whose rows are so few that blocks of them are not units enough. They depend on
/// shapes alone, not on whether values are in the keys: a copy gives the same bits.
KeyGroups tile_groups(const Tiling& tiling, std::int64_t element);

}  // namespace regard
