// Tensors of a type that NumPy does not have, by DLPack.
#pragma once

#include <pybind11/numpy.h>

namespace regard::bindings {

namespace py = pybind11;

/// The bits of a bfloat16 tensor on the CPU, as uint16, where they lie. Takes the tensor over from
/// the capsule, and gives it back with the last array that uses it.
/// @throws TypeError, leaving the capsule as it is.
py::array bits_of_bfloat16(const py::capsule& tensor);

}  // namespace regard::bindings
