// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011): random words from a counter and a key.
#pragma once

#include <cstdint>

#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

/// x[w] becomes word w of the generator's output for the counter x, lane by lane.
template <class W>
inline void philox(typename W::reg (&x)[4], std::uint64_t seed) {
  using reg = typename W::reg;
  const reg multiplier0 = W::set1(0xD2511F53), multiplier1 = W::set1(0xCD9E8D57);
  auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  REGARD_UNROLL
  for (int round = 0; round < 10; ++round) {
    reg high0, low0, high1, low1;
    W::multiply(x[0], multiplier0, high0, low0);
    W::multiply(x[2], multiplier1, high1, low1);
    x[0] = W::exclusive_or(high1, x[1], W::set1(key0));
    x[1] = low1;
    x[2] = W::exclusive_or(high0, x[3], W::set1(key1));
    x[3] = low0;
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
}

}  // namespace
}  // namespace regard::kernels
