// 16-bit floating point to float and back, rounded to nearest even, by integer arithmetic: for CPUs
// without instructions for it.
#pragma once

#include <cstdint>

#include "kernels/simd/elements.hpp"

namespace regard::kernels {
namespace {

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of(std::uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

inline float to_float(Bfloat16 x) { return float_of(std::uint32_t{x.bits} << 16); }

inline Bfloat16 to_bfloat16(float x) {
  const std::uint32_t bits = bits_of(x);
  if (x != x) return {static_cast<std::uint16_t>((bits >> 16) | 0x40)};  // stays NaN
  return {static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

inline float to_float(Float16 x) {
  const std::uint32_t sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7FFFu;
  if (magnitude >= 0x7C00) return float_of(sign | 0x7F800000u | magnitude << 13);
  // The exponents' biases differ by 112; a product makes subnormal numbers normal on the way.
  return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
}

inline Float16 to_float16(float x) {
  const std::uint32_t sign = (bits_of(x) >> 16) & 0x8000u, magnitude = bits_of(x) & 0x7FFFFFFFu;
  const auto with_sign = [&](std::uint32_t bits) {
    return Float16{static_cast<std::uint16_t>(sign | bits)};
  };
  if (magnitude > 0x7F800000u) return with_sign(0x7E00);
  if (magnitude >= 0x47800000u) return with_sign(0x7C00);  // 2^16 and above
  if (magnitude < 0x38800000u) {
    // Below the smallest normal number 2^-14: added to 1/2, the last bit of a float is 2^-24.
    return with_sign(bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f));
  }
  const std::uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return with_sign((rounded - (112u << 23)) >> 13);
}

}  // namespace
}  // namespace regard::kernels
