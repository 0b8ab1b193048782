// Scores, their references and sums are in base 2 inside the kernels; these are the way there and
// back.
#pragma once

namespace regard::kernels {
namespace {

constexpr double kLog2E = 1.4426950408889634074;
constexpr double kLn2 = 0.69314718055994530942;

/// What hides a score: log2 of a weight of 0.
template <class V>
constexpr typename V::scalar minus_infinity() {
  return -static_cast<typename V::scalar>(__builtin_inf());
}

}  // namespace
}  // namespace regard::kernels
