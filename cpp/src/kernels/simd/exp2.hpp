// 2^x over a vector type: x = n + f with n = floor(x), f in [0, 1);  2^x = p(f) * 2^n.
//
// p is the minimax polynomial in relative error on [0, 1] (Remez exchange, 50 digits):
// degree 5 has error 7.5e-8 (float, 2.2e-7 with rounding), degree 11 has 3.1e-18 (double).
// Results below the smallest normal number are 0: a weight of 2^-126 beside a largest weight of
// at least 2^-8 changes nothing, and subnormal numbers are slow on many CPUs.
// -inf gives 0; NaN gives NaN.
#pragma once

#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

template <class T>
struct Exp2Polynomial;

template <>
struct Exp2Polynomial<float> {
  static constexpr int degree = 5;
  static constexpr float smallest = -126.0f;
  static constexpr float coefficients[degree + 1] = {
      0.99999992506358777f,  0.69315307320262605f,   0.24015361702112632f,
      0.055826318116233500f, 0.0089893400235819068f, 0.0018775767000199890f};
};

template <>
struct Exp2Polynomial<double> {
  static constexpr int degree = 11;
  static constexpr double smallest = -1022.0;
  static constexpr double coefficients[degree + 1] = {
      0.99999999999999999695,    0.6931471805599462346,      0.24022650695905471359,
      0.05550410866571114055,    0.00961812909879262171,     0.0013333558661575757352,
      0.00015403511446490552452, 0.000015253190248831243385, 1.3208193495747121518e-6,
      1.0254457379014550223e-7,  6.5544571626548391491e-9,   6.2724344648028895648e-10};
};

/// p(f) by Horner's rule.
template <class V>
inline typename V::reg exp2_polynomial(typename V::reg f) {
  using P = Exp2Polynomial<typename V::scalar>;
  typename V::reg p = V::set1(P::coefficients[P::degree]);
  REGARD_UNROLL
  for (int i = P::degree - 1; i >= 0; --i) p = V::fma(p, f, V::set1(P::coefficients[i]));
  return p;
}

}  // namespace
}  // namespace regard::kernels
