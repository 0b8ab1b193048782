#include "arrays.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace regard::bindings {
namespace {

// NumPy's type numbers (numpy/ndarraytypes.h), part of its stable ABI.
DType from_type_number(int number) {
  switch (number) {
    case 0: return DType::boolean;
    case 1: return DType::int8;
    case 2: return DType::uint8;
    case 3: return DType::int16;
    case 4: return DType::uint16;
    case 5: return DType::int32;
    case 6: return DType::uint32;
    case 7: return sizeof(long) == 8 ? DType::int64 : DType::int32;
    case 8: return sizeof(long) == 8 ? DType::uint64 : DType::uint32;
    case 9: return DType::int64;
    case 10: return DType::uint64;
    case 11: return DType::float32;
    case 12: return DType::float64;
    case 23: return DType::float16;
    default: return DType::other;
  }
}

/// NumPy has no bfloat16. It is that of ml_dtypes, or the package's own record of one field of that
/// name with 16 bits in the CPU's order, for where that is missing.
bool is_bfloat16(const py::dtype& dtype) {
  if (dtype.itemsize() != 2) return false;
  constexpr int record = 20;
  if (dtype.num() != record) {
    const auto* type = reinterpret_cast<const PyTypeObject*>(
        py::detail::array_descriptor_proxy(dtype.ptr())->typeobj);
    return std::string_view(type->tp_name).ends_with("bfloat16");
  }
  const py::object names = dtype.attr("names");
  if (names.is_none() || py::len(names) != 1 ||
      py::cast<std::string>(names[py::int_(0)]) != "bfloat16") {
    return false;
  }
  const auto bits = py::cast<py::dtype>(py::object(dtype[py::str("bfloat16")]));
  return from_type_number(bits.num()) == DType::uint16 && bits.byteorder() != '>';
}

DType dtype_of(const py::array& array) {
  const py::dtype dtype = array.dtype();
  const char order = dtype.byteorder();  // '=', '|', or the order itself when it is not the CPU's
  if (order == '>' || order == '<') return DType::other;
  const DType known = from_type_number(dtype.num());
  return known == DType::other && is_bfloat16(dtype) ? DType::bfloat16 : known;
}

bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float64 || dtype == DType::float16 ||
         dtype == DType::bfloat16;
}

/// Whether the core takes an array of this type as it is, if only to refuse it by name.
bool passes(DType dtype, std::string_view role) {
  if (role == "mask" || role == "bias") return dtype != DType::other;
  if (role == "lengths") return dtype == DType::int64;
  if (role == "bits") return true;
  if (role == "numbers" || role == "scales") return is_floating(dtype);
  return is_floating(dtype) || (role == "stored" && dtype == DType::int8);
}

}  // namespace

py::array as_array(py::handle object, const char* argument, const char* role) {
  // Subclasses may mean something else by their memory (masked arrays do): coerce looks at them.
  if (Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_) {
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (passes(dtype_of(array), role)) return array;
  }
  return py::module_::import("regard._arrays").attr("coerce")(object, argument, role);
}

void view(const py::array& array, Array& seen) {
  seen.data = const_cast<void*>(array.data());
  seen.dtype = dtype_of(array);
  seen.writable = array.writeable();
  seen.rank = static_cast<int>(array.ndim());
  for (int axis = 0; axis < seen.rank; ++axis) {
    seen.shape[static_cast<std::size_t>(axis)] = array.shape(axis);
    seen.strides[static_cast<std::size_t>(axis)] = array.strides(axis);
  }
}

py::array empty_like(std::span<const std::int64_t> shape, const py::array& array) {
  return py::array(array.dtype(), std::vector<py::ssize_t>(shape.begin(), shape.end()));
}

py::array empty(std::span<const std::int64_t> shape, DType dtype) {
  const std::vector<py::ssize_t> dims(shape.begin(), shape.end());
  if (dtype == DType::int64) return py::array(py::dtype::of<std::int64_t>(), dims);
  return dtype == DType::float32 ? py::array(py::dtype::of<float>(), dims)
                                 : py::array(py::dtype::of<double>(), dims);
}

}  // namespace regard::bindings
