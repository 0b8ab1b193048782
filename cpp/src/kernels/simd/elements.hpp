// Element types that C++20 has no name for.
#pragma once

#include <cstdint>

namespace regard::kernels {
namespace {

/// The upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

/// IEEE 754 binary16.
struct Float16 {
  std::uint16_t bits;
};

}  // namespace
}  // namespace regard::kernels
