#include <algorithm>
#include <span>
#include <string>

#include "base/message.hpp"
#include "validate/axes.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

constexpr const char* kOutAxes[] = {"heads", "length", "value_dim"};
constexpr const char* kLseAxes[] = {"heads", "length"};

}  // namespace

Operand validate_output(const char* argument, const Array& array, const CheckedProblem& checked,
                        int trailing) {
  const int rank = checked.out_rank - (trailing == 1 ? 1 : 0);
  const std::span<const std::int64_t> wanted = {checked.out_shape.data(),
                                                static_cast<std::size_t>(rank)};
  const Shown shown =
      trailing == 1 ? Shown{argument, array, kLseAxes} : Shown{argument, array, kOutAxes};
  const DType dtype = trailing == 1 ? checked.dtype : checked.out_dtype;
  if (array.dtype != dtype) {
    throw TypeError(message(std::string(argument) + " has dtype " + name(array.dtype) +
                                "; the result is " + name(dtype) + ".",
                            {shown},
                            trailing == 1 ? "Give an array of the type that is computed in."
                                          : "Give an array of the query's dtype."));
  }
  if (!std::ranges::equal(array.dims(), wanted)) {
    throw ValueError(message(std::string(argument) + " has shape " + tuple(array.dims()) +
                                 "; the result has " + tuple(wanted) + ".",
                             {shown}, "Give an array of exactly that shape."));
  }
  if (!array.writable) {
    throw ValueError(message(std::string(argument) + " is read-only.", {shown},
                             "Give an array that can be written."));
  }
  const bool empty = std::ranges::find(wanted, 0) != wanted.end();
  for (int i = 0; i < array.rank && !empty; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (array.shape[at] > 1 && array.strides[at] == 0) {
      throw ValueError(message(std::string(argument) + " is a broadcast view: axis " +
                                   std::to_string(i) + " has stride 0.",
                               {shown}, "Give an array in which every element has its own place."));
    }
  }
  // Axes that the caller's output does not have are put back as axes of one.
  Array full = array;
  if (checked.query_is_vector) insert_axis(full, trailing - 1);
  if (!checked.heads_axis) insert_axis(full, trailing);
  return align(full, checked, trailing);
}

}  // namespace regard
