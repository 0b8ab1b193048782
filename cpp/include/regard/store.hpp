// Keys and values put into a store of a smaller type.
#pragma once

#include "regard/array.hpp"
#include "regard/error.hpp"

namespace regard {

/// target = source, rounded to nearest even. Both have one shape, (..., columns), and any strides.
/// The source is float32, float16 or bfloat16; the target one of these or int8, for which `scales`
/// (float32, the shape without its last axis) are written too: max |x| / 127 of each row, and the
/// row in units of it. A row with a number that is not finite becomes NaN. float64 goes to float64.
/// @throws ValueError, TypeError before anything is written.
void store(const Array& source, const Array& target, const Array* scales = nullptr);

}  // namespace regard
