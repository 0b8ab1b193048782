// Arrays for tests: memory of their own, strides of any kind, and guards round the elements.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "elements.hpp"
#include "regard/array.hpp"

namespace regard::test {

using Random = std::mt19937_64;
using Index = std::vector<std::int64_t>;

/// A whole number in [low, high].
inline std::int64_t pick(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

inline bool chance(Random& random, double probability) {
  return std::bernoulli_distribution(probability)(random);
}

/// Address of an element. The index may have more axes than the array, and the array axes of one
/// where the index goes on: NumPy's broadcasting, from the last axis.
inline char* address(const Array& array, std::span<const std::int64_t> index) {
  char* at = static_cast<char*>(array.data);
  for (int axis = 0; axis < array.rank; ++axis) {
    const auto a = static_cast<std::size_t>(axis);
    const std::int64_t i = index[index.size() - static_cast<std::size_t>(array.rank) + a];
    if (array.shape[a] != 1) at += i * array.strides[a];
  }
  return at;
}

/// Index (element..., last...) of one batch element's array.
inline Index joined(const Index& element, std::initializer_list<std::int64_t> last) {
  Index index = element;
  index.insert(index.end(), last);
  return index;
}

/// The last two axes of an array at one batch element and head, broadcast like address(), whose
/// work it does once for all elements.
class Plane {
 public:
  Plane(const Array& array, const Index& element, std::int64_t head)
      : first_(test::address(array, joined(element, {head, 0, 0}))),
        row_step_(step(array, 2)),
        column_step_(step(array, 1)) {}

  char* address(std::int64_t row, std::int64_t column) const {
    return first_ + row * row_step_ + column * column_step_;
  }

 private:
  static std::int64_t step(const Array& array, int from_end) {
    if (array.rank < from_end) return 0;
    const auto axis = static_cast<std::size_t>(array.rank - from_end);
    return array.shape[axis] == 1 ? 0 : array.strides[axis];
  }

  char* first_;
  std::int64_t row_step_, column_step_;
};

/// Calls body(index) for every index of a shape, in C order.
template <class Body>
void for_each_index(const Index& shape, const Body& body) {
  if (std::ranges::count(shape, 0) > 0) return;
  Index index(shape.size(), 0);
  for (;;) {
    body(std::as_const(index));
    std::size_t axis = shape.size();
    while (axis > 0 && ++index[axis - 1] == shape[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

enum class Layout {
  contiguous,
  strided,    ///< axes in any order, forwards or backwards, with gaps between
  unaligned,  ///< the same, at an address and with strides that the element size does not divide
  broadcast,  ///< strided, and some axes have stride 0
};

/// An array with memory of its own. Every byte that belongs to no element is 0xFF, which is NaN in
/// any float, true in a bool, and checked by intact().
class Buffer {
 public:
  Buffer(DType dtype, const Index& shape, Layout layout, Random& random)
      : dtype_(dtype), shape_(shape), strides_(shape.size()) {
    Index order(shape.size());
    std::iota(order.begin(), order.end(), 0);
    if (layout != Layout::contiguous) std::shuffle(order.begin(), order.end(), random);
    const auto element = static_cast<std::int64_t>(size(dtype));
    std::int64_t extent = element, first = kGuard;
    for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
      const auto a = static_cast<std::size_t>(*axis);
      if (layout == Layout::broadcast && chance(random, 0.3)) continue;
      std::int64_t gap = 0;
      if (layout == Layout::unaligned) gap = pick(random, 0, 3);
      if (layout == Layout::strided) gap = pick(random, 0, 3) * element;
      strides_[a] = extent + gap;
      const std::int64_t reach = std::max<std::int64_t>(shape[a] - 1, 0) * strides_[a];
      extent = reach + extent;
      if (layout != Layout::contiguous && chance(random, 0.3)) {
        first += reach;
        strides_[a] = -strides_[a];
      }
    }
    if (layout == Layout::unaligned) first += pick(random, 1, element);
    memory_.assign(static_cast<std::size_t>(extent + 2 * kGuard + element), kFill);
    first_ = static_cast<std::size_t>(first);
  }

  Array array(bool writable = false) const {
    Array array;
    array.data = const_cast<std::uint8_t*>(memory_.data()) + first_;
    array.dtype = dtype_;
    array.writable = writable;
    array.rank = static_cast<int>(shape_.size());
    std::ranges::copy(shape_, array.shape.begin());
    std::ranges::copy(strides_, array.strides.begin());
    return array;
  }

  const Index& shape() const { return shape_; }
  double get(const Index& index) const { return to_double(dtype_, address(array(), index)); }
  void set(const Index& index, double x) { from_double(dtype_, x, address(array(), index)); }

  /// Sets every element to what draw() gives.
  template <class Draw>
  void fill(const Draw& draw) {
    for_each_index(shape_, [&](const Index& index) { set(index, draw()); });
  }

  /// True while every byte that belongs to no element is what it was at first.
  bool intact() const {
    std::vector<std::uint8_t> rest = memory_;
    const Array view = array();
    const auto base = reinterpret_cast<std::uintptr_t>(memory_.data());
    for_each_index(shape_, [&](const Index& index) {
      const auto at = reinterpret_cast<std::uintptr_t>(address(view, index)) - base;
      std::memset(rest.data() + at, kFill, size(dtype_));
    });
    return std::ranges::all_of(rest, [](std::uint8_t byte) { return byte == kFill; });
  }

  /// All the memory, elements and guards.
  const std::vector<std::uint8_t>& bytes() const { return memory_; }

 private:
  static constexpr std::uint8_t kFill = 0xFF;
  static constexpr std::int64_t kGuard = 128;  // more than the widest vector

  DType dtype_;
  Index shape_, strides_;
  std::size_t first_ = 0;
  std::vector<std::uint8_t> memory_;
};

}  // namespace regard::test
