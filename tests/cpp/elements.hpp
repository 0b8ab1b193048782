// Elements of any type to double and back, rounded to nearest even.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "regard/array.hpp"

namespace regard::test {

template <class T>
T load(const void* address) {
  T x;
  std::memcpy(&x, address, sizeof x);
  return x;
}

/// A floating-point number of 16 bits, of which `fraction` are behind the point.
inline double from_half(std::uint16_t bits, int fraction) {
  const int largest = (1 << (15 - fraction)) - 1, bias = largest / 2;
  const int exponent = bits >> fraction & largest, digits = bits & ((1 << fraction) - 1);
  double x = exponent == largest ? (digits == 0 ? INFINITY : NAN)
             : exponent == 0     ? std::ldexp(digits, 1 - bias - fraction)
                                 : std::ldexp(digits + (1 << fraction), exponent - bias - fraction);
  return bits >> 15 != 0 ? -x : x;
}

inline std::uint16_t to_half(double x, int fraction) {
  const int largest = (1 << (15 - fraction)) - 1, bias = largest / 2;
  const auto sign = static_cast<std::uint16_t>(std::signbit(x) ? 0x8000 : 0);
  const auto infinity = static_cast<std::uint16_t>(sign | largest << fraction);
  if (std::isnan(x)) return static_cast<std::uint16_t>(infinity | 1 << (fraction - 1));
  if (std::isinf(x)) return infinity;
  // In units of the last place: bits of neighbours are neighbours, over powers of two as well.
  const int exponent = x == 0 ? 1 - bias : std::max(std::ilogb(x), 1 - bias);
  const double digits = std::nearbyint(std::ldexp(std::abs(x), fraction - exponent));
  const double bits = std::ldexp(exponent + bias - 1, fraction) + digits;
  if (bits >= std::ldexp(largest, fraction)) return infinity;
  return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(bits));
}

inline double to_double(DType dtype, const void* address) {
  switch (dtype) {
    case DType::boolean: return load<std::uint8_t>(address) != 0;
    case DType::int8: return load<std::int8_t>(address);
    case DType::int64: return static_cast<double>(load<std::int64_t>(address));
    case DType::bfloat16: return from_half(load<std::uint16_t>(address), 7);
    case DType::float16: return from_half(load<std::uint16_t>(address), 10);
    case DType::float32: return load<float>(address);
    default: return load<double>(address);
  }
}

inline void from_double(DType dtype, double x, void* address) {
  const auto store = [&](auto value) { std::memcpy(address, &value, sizeof value); };
  switch (dtype) {
    case DType::boolean: return store(static_cast<std::uint8_t>(x != 0));
    case DType::int8: return store(static_cast<std::int8_t>(x));
    case DType::int64: return store(static_cast<std::int64_t>(x));
    case DType::bfloat16: return store(to_half(x, 7));
    case DType::float16: return store(to_half(x, 10));
    case DType::float32: return store(static_cast<float>(x));
    default: return store(x);
  }
}

/// Distance of 1 to the next number.
inline double epsilon(DType dtype) {
  switch (dtype) {
    case DType::bfloat16: return 0x1p-7;
    case DType::float16: return 0x1p-10;
    case DType::float32: return 0x1p-23;
    default: return 0x1p-52;
  }
}

}  // namespace regard::test
