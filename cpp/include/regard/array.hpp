// How regard sees an array: a pointer, an element type, a shape and strides. Nothing is owned.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <type_traits>

namespace regard {

/// Element types an array may have. Which of them an argument accepts is up to the function.
enum class DType : std::uint8_t {
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  bfloat16,
  float16,
  float32,
  float64,
  other,
};

/// NumPy's name of the type, e.g. "float32".
const char* name(DType dtype);

/// Bytes of one element; 0 for DType::other.
std::size_t size(DType dtype);

/// As many axes as NumPy allows.
inline constexpr int kMaxRank = 64;

/// A strided array of any rank. Strides are in bytes, may be zero or negative, and need not be
/// multiples of the element size; data may lie at any address.
struct Array {
  void* data = nullptr;
  DType dtype = DType::other;
  bool writable = false;
  int rank = 0;
  std::array<std::int64_t, kMaxRank> shape;    ///< the first `rank` entries count
  std::array<std::int64_t, kMaxRank> strides;  ///< bytes

  Array() {}  // NOLINT: the entries that count are written with the rank; the rest is a kilobyte
  Array(const Array& other) : Array() { *this = other; }
  Array& operator=(const Array& other) {
    data = other.data;
    dtype = other.dtype;
    writable = other.writable;
    rank = other.rank;
    const auto used = static_cast<std::size_t>(rank);
    std::copy_n(other.shape.begin(), used, shape.begin());
    std::copy_n(other.strides.begin(), used, strides.begin());
    return *this;
  }

  std::span<const std::int64_t> dims() const {
    return {shape.data(), static_cast<std::size_t>(rank)};
  }
};

/// Elements of 16 bits, for `contiguous`: the upper half of a float, and IEEE binary16.
struct Bfloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};

namespace detail {
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<Bfloat16>() {
  return DType::bfloat16;
}
template <>
constexpr DType dtype_of<Float16>() {
  return DType::float16;
}
template <>
constexpr DType dtype_of<std::int8_t>() {
  return DType::int8;
}
template <>
constexpr DType dtype_of<float>() {
  return DType::float32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::float64;
}
template <>
constexpr DType dtype_of<bool>() {
  return DType::boolean;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
  return DType::int64;
}
}  // namespace detail

/// A C-contiguous array of the given shape over memory that the caller keeps alive.
template <class T>
Array contiguous(T* data, std::initializer_list<std::int64_t> shape) {
  using Element = std::remove_const_t<T>;
  Array array;
  array.data = const_cast<Element*>(data);
  array.dtype = detail::dtype_of<Element>();
  array.writable = !std::is_const_v<T>;
  array.rank = static_cast<int>(shape.size());
  std::int64_t stride = sizeof(T);
  int axis = array.rank;
  for (auto size = shape.end(); size != shape.begin();) {
    --size;
    --axis;
    array.shape[static_cast<std::size_t>(axis)] = *size;
    array.strides[static_cast<std::size_t>(axis)] = stride;
    stride *= *size;
  }
  return array;
}

}  // namespace regard
