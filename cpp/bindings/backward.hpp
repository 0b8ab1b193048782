// Gradients for the Python layer.
#pragma once

#include "arrays.hpp"

namespace regard::bindings {

/// Writes to the arrays in `gradients`, a dict by the names of the inputs that the Python layer
/// made.
void backward(py::handle query, py::handle key, py::handle value, py::handle options,
              const py::array& out, const py::array& lse, const py::array& dout, py::handle dlse,
              const py::dict& gradients, bool accumulate);

/// Output and LSE, and how they move: (out, dout, lse, dlse). Moves may be None.
py::tuple tangent(py::handle query, py::handle key, py::handle value, py::handle options,
                  py::handle dquery, py::handle dkey, py::handle dvalue);

}  // namespace regard::bindings
