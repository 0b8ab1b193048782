// Element types, and how kernels are told them.
#pragma once

#include "kernels/kernel_api.hpp"
#include "regard/array.hpp"

namespace regard {

/// Whether a type is one of those that are computed in float32.
bool computed_in_float32(DType dtype);

/// How kernels are told a type; `compute` for all that have no name there.
kernels::Storage storage_of(DType dtype);

}  // namespace regard
