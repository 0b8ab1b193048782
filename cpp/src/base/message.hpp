// How error messages are put together: what is wrong, the arrays concerned, what to do.
//
//   attention: query and key disagree on head_dim (128 vs 64).
//     query  (batch=2, heads=8, length=512, head_dim=128) float32
//     key    (batch=2, heads=8, length=512, head_dim=64)  float32
//     The last axis of query and key must match.
#pragma once

#include <initializer_list>
#include <span>
#include <string>

#include "regard/array.hpp"

namespace regard {

/// An array to be shown in a message, with names for its trailing axes.
struct Shown {
  const char* name;
  const Array& array;
  std::span<const char* const> axes;  ///< static arrays: a message outlives the call that makes it
};

/// "(2, 8, 512)"; "(5,)" for one axis.
std::string tuple(std::span<const std::int64_t> shape);

/// The three parts as in the example above; the first line starts with "attention: ".
std::string message(const std::string& problem, std::initializer_list<Shown> arrays,
                    const std::string& advice);

}  // namespace regard
