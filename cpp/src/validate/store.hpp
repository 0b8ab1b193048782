// Checks of a conversion of rows.
#pragma once

#include "regard/array.hpp"

namespace regard {

/// `scales` are null but for int8.
/// @throws ValueError, TypeError
void validate_store(const Array& source, const Array& target, const Array* scales);

}  // namespace regard
