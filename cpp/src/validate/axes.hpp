// Axes of an array counted from its last, and seen along the axes of a problem.
#pragma once

#include <cstdint>

#include "validate/checked_problem.hpp"

namespace regard {

/// Size of the axis `from_end` places before the last; 1 where there is none.
inline std::int64_t axis(const Array& array, int from_end) {
  const int at = array.rank - 1 - from_end;
  return at < 0 ? 1 : array.shape[static_cast<std::size_t>(at)];
}

inline std::int64_t stride(const Array& array, int from_end) {
  const int at = array.rank - 1 - from_end;
  return at < 0 || array.shape[static_cast<std::size_t>(at)] == 1
             ? 0
             : array.strides[static_cast<std::size_t>(at)];
}

/// Puts an axis of one before the last `from_end` axes.
inline void insert_axis(Array& array, int from_end) {
  const int at = array.rank - from_end;
  for (int i = array.rank; i > at; --i) {
    array.shape[static_cast<std::size_t>(i)] = array.shape[static_cast<std::size_t>(i - 1)];
    array.strides[static_cast<std::size_t>(i)] = array.strides[static_cast<std::size_t>(i - 1)];
  }
  array.shape[static_cast<std::size_t>(at)] = 1;
  array.strides[static_cast<std::size_t>(at)] = 0;
  ++array.rank;
}

/// Strides of an input seen along the problem's axes; `trailing` axes follow the heads.
inline Operand align(const Array& array, const CheckedProblem& checked, int trailing) {
  Operand operand;
  operand.data = static_cast<char*>(array.data);
  operand.column_stride = trailing > 1 ? stride(array, 0) : 0;
  operand.row_stride = stride(array, trailing - 1);
  operand.head_stride = stride(array, trailing);
  for (int i = 0; i < checked.batch_rank; ++i) {
    operand.batch_strides[static_cast<std::size_t>(checked.batch_rank - 1 - i)] =
        stride(array, trailing + 1 + i);
  }
  return operand;
}

}  // namespace regard
