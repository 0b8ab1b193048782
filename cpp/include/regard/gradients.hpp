// What the backward pass reads and writes.
#pragma once

#include <optional>

#include "regard/array.hpp"

namespace regard {

/// What is known after the forward pass.
struct Saved {
  Array out;                  ///< as Plan::run wrote it, in the query's type
  Array lse;                  ///< likewise, in the type that is computed in (Plan::compute_dtype)
  Array dout;                 ///< derivative of the loss by `out`, of its shape
  std::optional<Array> dlse;  ///< by `lse`; 0 if not given
};

/// Where derivatives of the loss go: those wanted. Those of query, key and value
/// have the axes (batch..., heads, length, dim), all of them; packed pieces have no batch axes.
/// These and the bias's are of the type that is computed in (Plan::compute_dtype).
struct Gradients {
  bool accumulate = false;  ///< add to what the arrays hold
  std::optional<Array> query, key, value;
  std::optional<Array> bias;           ///< of the bias's shape
  std::optional<Array> sinks;          ///< float64 (query heads)
  std::optional<Array> alibi_slopes;   ///< float64 (batch elements, query heads)
  std::optional<Array> query_scale;    ///< float64 (batch elements, query heads, queries)
  std::optional<Array> position_bias;  ///< float64, of its table's shape, C-contiguous
};

/// A direction in which the inputs move, with the axes and type of their gradients; what is not
/// given stays.
struct Tangents {
  std::optional<Array> query, key, value;
};

/// What the output and the LSE are, and how they move.
struct TangentOutputs {
  Array out, dout;
  std::optional<Array> lse, dlse;
};

}  // namespace regard
