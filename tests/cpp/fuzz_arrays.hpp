// What libFuzzer's bytes become: choices, and arrays each of which has a heap block of its own for
// AddressSanitizer to watch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "regard/attention.hpp"

namespace regard::fuzz {

/// Choices read off the input; zeros when it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::uint8_t next() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::int64_t below(std::int64_t limit) { return next() % limit; }
  /// True once in `times`.
  bool rarely(int times) { return next() % times == times - 1; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

/// An array and the memory that holds its elements and not a byte more.
struct Owned {
  Array array;
  std::unique_ptr<char[]> memory;
};

inline constexpr DType kTypes[] = {DType::float32, DType::float64,  DType::boolean, DType::int64,
                                   DType::int32,   DType::float16,  DType::uint8,   DType::other,
                                   DType::int8,    DType::bfloat16, DType::int16,   DType::uint16};
// What goes together; int8 only for keys and values.
inline constexpr DType kStored[] = {DType::float32, DType::bfloat16, DType::float16, DType::int8};

inline Owned make_array(Bytes& bytes, DType usual, std::vector<std::int64_t> shape,
                        bool output = false) {
  if (bytes.rarely(32)) usual = kTypes[bytes.below(12)];
  if (bytes.rarely(32) && !shape.empty()) shape.erase(shape.begin());
  if (bytes.rarely(32)) shape.insert(shape.begin(), bytes.below(3));
  for (std::int64_t& size : shape) {
    if (bytes.rarely(64)) size = bytes.below(5);
  }
  Owned owned;
  Array& array = owned.array;
  array.dtype = usual;
  array.writable = output && !bytes.rarely(64);
  array.rank = static_cast<int>(shape.size());
  const auto element = static_cast<std::int64_t>(size(usual) == 0 ? 1 : size(usual));
  // Strides: dense from the last axis, then each may be spread, reversed or made zero. Outputs
  // must not overlap themselves, which nothing can check, so theirs only grow.
  std::int64_t extent = element, low = 0, high = 0;
  bool empty = false;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    std::int64_t stride = extent;
    if (bytes.rarely(4)) stride += bytes.below(8) * (bytes.rarely(2) ? 1 : element);
    extent = stride * std::max<std::int64_t>(shape[axis], 1);
    if (bytes.rarely(6)) stride = -stride;
    if (bytes.rarely(output ? 64 : 8)) stride = 0;
    array.shape[axis] = shape[axis];
    array.strides[axis] = stride;
    if (shape[axis] == 0) empty = true;
    const std::int64_t reach = stride * std::max<std::int64_t>(shape[axis] - 1, 0);
    (reach < 0 ? low : high) += reach;
  }
  const std::int64_t size = empty ? 0 : high - low + element;
  owned.memory = std::make_unique<char[]>(static_cast<std::size_t>(size));
  array.data = owned.memory.get() - (empty ? 0 : low);
  if (usual == DType::int64) return owned;  // lengths: zeros until they are filled in
  const std::uint8_t pattern = bytes.next();
  for (std::int64_t i = 0; i < size; ++i) {
    owned.memory[static_cast<std::size_t>(i)] = static_cast<char>(pattern * (i + 3) >> 3);
  }
  return owned;
}

/// Fills int64 lengths with numbers that are mostly in range.
inline void fill_lengths(Bytes& bytes, const Owned& lengths, std::int64_t keys) {
  if (lengths.array.dtype != DType::int64) return;
  std::int64_t count = 1;
  for (const std::int64_t size : lengths.array.dims()) count *= size;
  if (count == 0) return;
  const bool dense = lengths.array.rank == 1 && lengths.array.strides[0] == 8;
  for (std::int64_t i = 0; i < (dense ? count : 1); ++i) {
    const std::int64_t length = bytes.below(keys + 1) - (bytes.rarely(32) ? 1 : 0);
    std::memcpy(static_cast<char*>(lengths.array.data) + 8 * i, &length, sizeof length);
  }
}

/// Fills offsets of pieces, which mostly rise from 0 to `total`.
inline void fill_starts(Bytes& bytes, const Owned& starts, std::int64_t total) {
  const Array& array = starts.array;
  if (array.dtype != DType::int64 || array.rank != 1) return;
  std::int64_t start = 0;
  for (std::int64_t i = 0; i < array.shape[0]; ++i) {
    if (i > 0) start += bytes.below(total - start + 1);
    if (i + 1 == array.shape[0]) start = total;
    const std::int64_t written = bytes.rarely(64) ? start - bytes.below(200) : start;
    std::memcpy(static_cast<char*>(array.data) + i * array.strides[0], &written, sizeof written);
  }
}

/// Memory of exactly so many bytes, as a C-contiguous array.
inline Owned dense_array(Bytes& bytes, DType dtype, const std::vector<std::int64_t>& shape) {
  Owned owned;
  Array& array = owned.array;
  array.dtype = dtype;
  array.writable = true;
  array.rank = static_cast<int>(shape.size());
  auto extent = static_cast<std::int64_t>(size(dtype));
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    array.shape[axis] = shape[axis];
    array.strides[axis] = extent;
    extent *= shape[axis];
  }
  owned.memory = std::make_unique<char[]>(static_cast<std::size_t>(extent));
  array.data = owned.memory.get();
  std::memset(array.data, bytes.rarely(2) ? 0 : 0x3E, static_cast<std::size_t>(extent));
  return owned;
}

}  // namespace regard::fuzz
