// States of the same rows over different keys, (m, l, O), brought together:
//
//   m = max(m1, m2),  l = 2^(m1 - m) l1 + 2^(m2 - m) l2,  O likewise
#pragma once

#include <cstdint>

namespace regard::kernels {
namespace {

/// 2^(from - to), 1 where both are -inf.
template <class V>
inline typename V::scalar rescale(typename V::scalar from, typename V::scalar to) {
  if (from == to) return 1;
  typename V::scalar lanes[V::lanes];
  V::store(lanes, V::exp2(V::set1(from - to)));
  return lanes[0];
}

/// x = a x + b y for `count` numbers.
template <class V>
inline void combine(typename V::scalar a, typename V::scalar* x, typename V::scalar b,
                    const typename V::scalar* y, std::int64_t count) {
  for (std::int64_t c = 0; c < count; c += V::lanes) {
    V::store(x + c, V::fma(V::set1(a), V::load(x + c), V::mul(V::set1(b), V::load(y + c))));
  }
}

}  // namespace
}  // namespace regard::kernels
