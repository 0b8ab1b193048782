// Arrays carved from one allocation. A kernel names what it needs once, for counting and for use.
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::kernels {
namespace {

inline std::int64_t round_up(std::int64_t x, std::int64_t step) {
  return (x + step - 1) / step * step;
}

/// Hands out arrays that start on a cache line each. With a null memory it only counts.
struct ScratchMemory {
  char* memory;
  std::size_t used;

  template <class T>
  T* take(std::int64_t count) {
    char* at = memory ? memory + used : nullptr;
    used += static_cast<std::size_t>(round_up(count * static_cast<std::int64_t>(sizeof(T)), 64));
    return reinterpret_cast<T*>(at);
  }
};

}  // namespace
}  // namespace regard::kernels
