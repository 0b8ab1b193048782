// The ceilings of an instruction set: independent FMAs that touch nothing but registers, and sums
// of what lies in memory, which cost nothing beside reading it.
#pragma once

#include <cstdint>

#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

/// `products`: of a lane, in each instruction.
template <class V, int products = 1>
double fma_loop(std::int64_t steps) {
  // 12 chains cover two FMA units with a latency of up to 6 cycles and fit in 16 registers.
  constexpr int chains = 12;
  typename V::reg sum[chains];
  REGARD_UNROLL
  for (int i = 0; i < chains; ++i) sum[i] = V::set1(static_cast<typename V::scalar>(i));
  const typename V::reg a = V::set1(0.999f), b = V::set1(1e-3f);
  for (std::int64_t step = 0; step < steps; ++step) {
    REGARD_UNROLL
    for (int i = 0; i < chains; ++i) sum[i] = V::fma(a, b, sum[i]);
    asm volatile("");  // keeps the rounds apart; each is wanted
  }
  typename V::reg total = sum[0];
  REGARD_UNROLL
  for (int i = 1; i < chains; ++i) total = V::add(total, sum[i]);
  typename V::scalar lanes[V::lanes];
  V::store(lanes, total);
  volatile typename V::scalar keep = lanes[0];  // the sums are used, so they are computed
  static_cast<void>(keep);
  return static_cast<double>(steps) * chains * V::lanes * products * 2;
}

template <class V>
void read_loop(const char* data, std::int64_t bytes, std::int64_t ahead) {
  using T = typename V::scalar;
  // 8 chains of a latency of 4 cycles take two loads a cycle.
  constexpr int chains = 8;
  constexpr std::int64_t vector = V::lanes * sizeof(T), step = chains * vector, line = 64;
  typename V::reg sum[chains];
  REGARD_UNROLL
  for (int i = 0; i < chains; ++i) sum[i] = V::zero();
  for (const char *at = data, *end = data + bytes; at < end; at += step) {
    for (std::int64_t next = 0; ahead > 0 && next < step; next += line) {
      __builtin_prefetch(at + ahead + next);  // past the end is no fault
    }
    REGARD_UNROLL
    for (int i = 0; i < chains; ++i) {
      sum[i] = V::add(sum[i], V::load(reinterpret_cast<const T*>(at + i * vector)));
    }
  }
  REGARD_UNROLL
  for (int i = 1; i < chains; ++i) sum[0] = V::add(sum[0], sum[i]);
  T lanes[V::lanes];
  V::store(lanes, sum[0]);
  volatile T keep = lanes[0];  // the sums are used, so what they are of is read
  static_cast<void>(keep);
}

}  // namespace
}  // namespace regard::kernels
