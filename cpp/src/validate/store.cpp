// Checks of a conversion of rows.
#include "validate/store.hpp"

#include <algorithm>
#include <string>

#include "base/message.hpp"
#include "regard/error.hpp"
#include "validate/types.hpp"

namespace regard {

void validate_store(const Array& source, const Array& target, const Array* scales) {
  const Shown from = {"source", source, {}}, to = {"target", target, {}};
  const bool wide = source.dtype == DType::float64;
  const bool from_fits = wide || computed_in_float32(source.dtype);
  const bool to_fits = wide ? target.dtype == DType::float64
                            : computed_in_float32(target.dtype) || target.dtype == DType::int8;
  if (!from_fits || !to_fits) {
    throw TypeError(message(
        "" + std::string(name(source.dtype)) + " does not go into " + name(target.dtype) + ".",
        {from, to},
        "float32, float16 and bfloat16 go into these and int8, float64 into "
        "float64."));
  }
  if (source.rank < 1 || !std::ranges::equal(source.dims(), target.dims())) {
    throw ValueError(message("source and target differ in shape.", {from, to},
                             "Give arrays of one shape, (..., columns)."));
  }
  const bool quantizes = target.dtype == DType::int8;
  if (quantizes != (scales != nullptr) || (quantizes && scales->dtype != DType::float32) ||
      (quantizes &&
       !std::ranges::equal(scales->dims(),
                           source.dims().first(static_cast<std::size_t>(source.rank - 1))))) {
    throw ValueError(message("scales are wanted for int8, and for int8 only.", {from, to},
                             "Give float32 of the shape without its last axis."));
  }
  if (!target.writable || (scales != nullptr && !scales->writable)) {
    throw ValueError(message("target is read-only.", {to}, "Give one that can be written."));
  }
}

}  // namespace regard
