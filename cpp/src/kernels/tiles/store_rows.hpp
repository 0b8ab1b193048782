// Rows copied into a store of another type: rounded to nearest even, or, for int8, in units of the
// row's largest magnitude / 127.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/tiles/scratch_memory.hpp"
#include "kernels/tiles/storage.hpp"

namespace regard::kernels {
namespace {

/// max |x| / 127; NaN if some x is not finite, which makes the whole row NaN when it is read.
template <class V>
inline float int8_scale(const typename V::scalar* x, std::int64_t padded) {
  typename V::reg largest = V::zero(), check = V::zero();
  for (std::int64_t c = 0; c < padded; c += V::lanes) {
    const typename V::reg v = V::load(x + c);
    largest = V::max(V::abs(v), largest);
    check = V::fma(v, V::zero(), check);  // 0 * x is NaN for NaN and Inf
  }
  alignas(64) typename V::scalar lanes[V::lanes], checks[V::lanes];
  V::store(lanes, largest);
  V::store(checks, check);
  typename V::scalar most = 0;
  for (int i = 0; i < V::lanes; ++i) {
    most = lanes[i] > most ? lanes[i] : most;
    if (checks[i] != 0) return __builtin_nanf("");
  }
  return static_cast<float>(most) / 127;
}

template <class V>
void store_rows(const StoreUnit& u) {
  using T = typename V::scalar;
  using reg = typename V::reg;
  const std::int64_t padded = round_up(u.columns, V::lanes);
  auto* x = static_cast<T*>(u.scratch);
  for (std::int64_t i = 0; i < u.count; ++i) {
    const char* from = u.source.data + i * u.source.row_stride;
    char* to = u.target.data + i * u.target.row_stride;
    with_storage<V>(u.source_storage, [&]<class S>() {
      widen_row<V, S>(from, u.source.column_stride, u.columns, V::set1(1), x, padded);
    });
    if (u.target_storage == Storage::int8) {
      const float scale = int8_scale<V>(x, padded);
      __builtin_memcpy(u.scales + i * u.scale_stride, &scale, sizeof scale);
      // Rows so small that their scale is rough can pass 127.
      const reg most = V::set1(127), least = V::set1(-127);
      const reg divisor = V::set1(scale > 0 ? static_cast<T>(scale) : T(1));
      const bool none = !(scale > 0);
      for (std::int64_t c = 0; c < padded; c += V::lanes) {
        const reg q = V::min(V::max(V::div(V::load(x + c), divisor), least), most);
        V::store(x + c, none ? V::zero() : q);
      }
    }
    with_storage<V>(u.target_storage, [&]<class S>() {
      narrow_row<V, S>(x, V::set1(1), u.columns, to, u.target.column_stride);
    });
  }
}

}  // namespace
}  // namespace regard::kernels
