// Vector types for any CPU, on fixed-size Eigen arrays: Eigen uses what the baseline target has
// (SSE2, NEON, nothing) and the rest is plain loops. Compiled with the project's baseline flags
// only; files compiled for an instruction set must not include this header.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/simd/elements.hpp"
#include "kernels/simd/exp2.hpp"
#include "kernels/simd/half.hpp"
#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

/// N words of 32 bits.
template <int N>
struct GenericWords {
  using reg = Eigen::Array<std::uint32_t, N, 1>;
  static reg set1(std::uint32_t x) { return reg::Constant(x); }
  static reg load(const std::uint32_t* p) { return Eigen::Map<const reg>(p); }
  static reg exclusive_or(const reg& a, const reg& b, const reg& c) {
    reg x;
    for (int i = 0; i < N; ++i) x[i] = a[i] ^ b[i] ^ c[i];
    return x;
  }
  /// The halves of the 64-bit products x * m.
  static void multiply(const reg& x, const reg& m, reg& high, reg& low) {
    for (int i = 0; i < N; ++i) {
      const std::uint64_t product = static_cast<std::uint64_t>(x[i]) * m[i];
      high[i] = static_cast<std::uint32_t>(product >> 32);
      low[i] = static_cast<std::uint32_t>(product);
    }
  }
};

/// N lanes of T. 4 x 2 accumulators and their operands fit in 16 registers of 16 bytes.
template <class T, int N>
struct Generic {
  using scalar = T;
  using reg = Eigen::Array<T, N, 1>;
  using mask = Eigen::Array<bool, N, 1>;
  using words = GenericWords<N>;
  static constexpr int lanes = N;
  static constexpr int score_keys = 4, score_vectors = 2;
  static constexpr int out_rows = 4, out_vectors = 2;
  static constexpr int panel_rows = 6 * N, query_block = 4 * panel_rows, key_tile = 64;

  static reg zero() { return reg::Zero(); }
  static reg set1(T x) { return reg::Constant(x); }
  // Not by Eigen::Map: rows may lie at addresses that the element size does not divide.
  static reg load(const T* p) {
    reg x;
    __builtin_memcpy(x.data(), p, sizeof(T) * N);
    return x;
  }
  static reg load(const Bfloat16* p) {
    return convert(p, [](Bfloat16 x) { return to_float(x); });
  }
  static reg load(const Float16* p) {
    return convert(p, [](Float16 x) { return to_float(x); });
  }
  static reg load(const std::int8_t* p) {
    return convert(p, [](std::int8_t x) { return static_cast<float>(x); });
  }
  static void store(T* p, const reg& x) { __builtin_memcpy(p, x.data(), sizeof(T) * N); }
  static void store(Bfloat16* p, const reg& x) {
    for (int i = 0; i < N; ++i) put(p + i, to_bfloat16(x[i]));
  }
  static void store(Float16* p, const reg& x) {
    for (int i = 0; i < N; ++i) put(p + i, to_float16(x[i]));
  }
  /// x is within the range.
  static void store(std::int8_t* p, const reg& x) {
    for (int i = 0; i < N; ++i) p[i] = static_cast<std::int8_t>(__builtin_rintf(x[i]));
  }
  static reg add(const reg& a, const reg& b) { return a + b; }
  static reg sub(const reg& a, const reg& b) { return a - b; }
  static reg mul(const reg& a, const reg& b) { return a * b; }
  static reg div(const reg& a, const reg& b) { return a / b; }
  static reg abs(const reg& x) { return x.abs(); }
  static reg fma(const reg& a, const reg& b, const reg& c) { return a * b + c; }
  /// The larger, the smaller; b when either is NaN.
  static reg max(const reg& a, const reg& b) {
    reg larger;
    for (int i = 0; i < N; ++i) larger[i] = a[i] > b[i] ? a[i] : b[i];
    return larger;
  }
  static reg min(const reg& a, const reg& b) {
    reg smaller;
    for (int i = 0; i < N; ++i) smaller[i] = a[i] < b[i] ? a[i] : b[i];
    return smaller;
  }
  static mask less(const reg& a, const reg& b) { return a < b; }
  static mask less_equal(const reg& a, const reg& b) { return a <= b; }
  static mask equal(const reg& a, const reg& b) { return a == b; }
  static mask both(const mask& a, const mask& b) { return a && b; }
  static bool any(const mask& m) { return m.any(); }
  /// m ? a : b, lane by lane.
  static reg select(const mask& m, const reg& a, const reg& b) { return m.select(a, b); }
  static mask at_least(const typename words::reg& x, const typename words::reg& least) {
    return x >= least;
  }
  static mask nonzero_bytes(const std::uint8_t* p) {
    mask m;
    for (int i = 0; i < N; ++i) m[i] = p[i] != 0;
    return m;
  }
  static reg exp2(const reg& x) {
    const reg smallest = set1(Exp2Polynomial<T>::smallest);
    const reg clamped = max(smallest, x);  // x when x is NaN
    const reg n = clamped.floor();
    reg p = exp2_polynomial<Generic>(clamped - n);
    for (int i = 0; i < N; ++i) p[i] = x[i] < smallest[i] ? T(0) : scale_by_power(p[i], n[i]);
    return p;
  }
  /// Lane i of the result is the sum of the lanes of r[i], formed in the same order for every i.
  static reg sum_lanes(const reg (&r)[N]) {
    reg sums;
    for (int i = 0; i < N; ++i) sums[i] = r[i].sum();
    return sums;
  }
  static void transpose(reg (&r)[N]) {
    Eigen::Array<T, N, N> block;
    for (int i = 0; i < N; ++i) block.col(i) = r[i];
    for (int i = 0; i < N; ++i) r[i] = block.row(i);
  }
  static constexpr bool transposes_bytes = false;

 private:
  template <class S, class Convert>
  static reg convert(const S* p, const Convert& to) {
    reg x;
    for (int i = 0; i < N; ++i) {
      S element;
      __builtin_memcpy(&element, p + i, sizeof element);  // at any address
      x[i] = to(element);
    }
    return x;
  }
  template <class S>
  static void put(S* p, S x) {
    __builtin_memcpy(p, &x, sizeof x);
  }
  /// x * 2^n for a normal result; n is integral. Rows that hold NaN can bring any n here.
  static T scale_by_power(T x, T n) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    if (!(n < 1024)) return n;
    constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
    Bits bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits += static_cast<Bits>(static_cast<std::int64_t>(n)) << mantissa;
    __builtin_memcpy(&x, &bits, sizeof bits);
    return x;
  }
};

}  // namespace
}  // namespace regard::kernels
