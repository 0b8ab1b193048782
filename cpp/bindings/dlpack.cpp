#include "dlpack.hpp"

#include <cstdint>
#include <vector>

#include "regard/error.hpp"

namespace regard::bindings {
namespace {

// The part of dlpack.h (0.8, whose layout is frozen) that describes a tensor.
struct Device {
  std::int32_t type, id;
};

struct Type {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t rank;
  Type type;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null for C order
  std::uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

constexpr std::int32_t kCpu = 1;
constexpr std::uint8_t kBfloat = 4;

}  // namespace

py::array bits_of_bfloat16(const py::capsule& capsule) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  const Tensor& tensor = managed->tensor;
  if (tensor.device.type != kCpu) throw TypeError("it is not on the CPU");
  if (tensor.type.code != kBfloat || tensor.type.bits != 16 || tensor.type.lanes != 1) {
    throw TypeError("its dtype is none that NumPy has, nor bfloat16");
  }
  std::vector<py::ssize_t> shape(tensor.shape, tensor.shape + tensor.rank);
  std::vector<py::ssize_t> strides(shape.size());
  py::ssize_t step = sizeof(std::uint16_t);
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    strides[axis] =
        tensor.strides != nullptr ? static_cast<py::ssize_t>(tensor.strides[axis] * 2) : step;
    step *= shape[axis];
  }
  const char* data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
  // From here on the array gives the tensor back, and a capsule of this name no longer does.
  const py::capsule owner(managed, [](void* p) {
    auto* given = static_cast<Managed*>(p);
    if (given->deleter != nullptr) given->deleter(given);
  });
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  py::array bits(py::dtype::of<std::uint16_t>(), shape, strides, data, owner);
  bits.attr("flags").attr("writeable") = false;  // this version of DLPack does not say
  return bits;
}

}  // namespace regard::bindings
