// How elements with few query rows are run: their keys in groups, which may be units of their own.
#pragma once

#include <cstdint>

#include "plan/tiling.hpp"

namespace regard {

/// Whether an element has so few rows that they are decoded.
bool decodes(const Tiling& tiling, std::int64_t element);

/// The keys [begin, end) that some query of an element can reach by its position.
struct KeyRange {
  std::int64_t begin, end;
};
KeyRange reachable_keys(const CheckedProblem& problem, std::int64_t element);

/// The keys that a decoded element can reach, in groups: group n has `keys` keys from first_key +
/// n * keys on. They depend on the element alone, so that its result does too.
struct KeyGroups {
  std::int64_t first_key, keys, count;
};
KeyGroups key_groups(const CheckedProblem& problem, std::int64_t element);

/// What decoding an element costs, in multiply-adds.
double decode_work(const Tiling& tiling, std::int64_t element);

/// Whether groups are units of their own: when heads alone do not keep the threads busy.
bool splits_groups(const Tiling& tiling, int threads);

}  // namespace regard
