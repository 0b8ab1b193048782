// The options of a call, from the dict that the Python layer makes of them.
#pragma once

#include <list>
#include <utility>

#include "arrays.hpp"
#include "python_scores.hpp"
#include "regard/attention.hpp"

namespace regard::bindings {

/// A problem, and the arrays and functions that it points into.
struct Call {
  std::list<std::pair<const char*, py::array>> arrays;
  PythonScores functions;
  Problem problem;
};

/// `options` is None or a dict that holds only what was given, checked for type by the Python
/// layer.
void read_call(py::handle query, py::handle key, py::handle value, py::handle options, Call& call);

}  // namespace regard::bindings
