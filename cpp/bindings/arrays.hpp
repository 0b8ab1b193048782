// NumPy arrays in, plain regard::Array out. Nothing is copied here.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <span>

#include "regard/array.hpp"

namespace regard::bindings {

namespace py = pybind11;

/// `object` itself when it is an array of a type that the core knows how to name; otherwise what
/// regard._arrays.coerce makes of it (lists, tensors that speak DLPack, integers to float64).
/// `role` is "input" for query, key, value; "stored" for key and value where int8 may have scales;
/// "scales"; "mask"; "bits"; "bias"; "numbers"; "lengths".
py::array as_array(py::handle object, const char* argument, const char* role);

/// Makes `seen` the array as the core sees it; valid while `array` lives. (An Array is a kilobyte,
/// which shows in the time of the smallest call if it is returned and copied.)
void view(const py::array& array, Array& seen);

/// An uninitialised C-contiguous array of the dtype of another.
py::array empty_like(std::span<const std::int64_t> shape, const py::array& array);

/// An uninitialised C-contiguous array.
py::array empty(std::span<const std::int64_t> shape, DType dtype);

}  // namespace regard::bindings
