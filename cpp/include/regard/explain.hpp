// What a plan says about itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "regard/array.hpp"

namespace regard {

/// The ways a checked problem can be run.
enum class Pass : std::uint8_t {
  forward,   ///< Plan::run
  weights,   ///< Plan::weights, all rows
  summary,   ///< Plan::summary
  backward,  ///< Plan::backward, all gradients that the problem has
  tangent,   ///< Plan::tangent
};

/// How a pass will be run.
struct Explanation {
  std::string_view isa;   ///< whose kernels run
  std::string algorithm;  ///< the pass; of the forward pass "forward", "decode" for few query rows
                          ///< a kv head, or "forward+decode" for elements that differ
  DType product_dtype;    ///< of the factors of the products of tiles
  std::int64_t query_block;      ///< most query rows in a unit of work
  std::int64_t key_tile;         ///< keys a tile
  std::int64_t heads_a_unit;     ///< query heads that share a unit of work
  std::int64_t key_groups;       ///< most parts that a head's keys are cut into; 0: they are not
  std::int64_t score_mod_calls;  ///< of a function of the caller's and its gradient, about
  std::int64_t units;            ///< units of work
  int threads;                   ///< threads that share them
  std::size_t scratch_bytes;     ///< scratch of one thread
  bool reads_value;              ///< the pass has to do with values
  bool key_in_place;             ///< keys are read where they lie, not copied tile by tile
  bool value_in_place;
  bool value_in_key;  ///< values are the first columns of the keys, read once for both
};

}  // namespace regard
