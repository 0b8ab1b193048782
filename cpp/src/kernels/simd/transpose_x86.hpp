// 16x16 bytes transposed with SSE2 unpacks: four rounds of interleaving row i with row i + 8.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

inline void transpose_bytes_16x16(const std::uint8_t* const (&rows)[16], std::uint8_t* to,
                                  std::ptrdiff_t stride) {
  __m128i a[16], b[16];
  REGARD_UNROLL
  for (int i = 0; i < 16; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  REGARD_UNROLL
  for (int round = 0; round < 4; ++round) {
    REGARD_UNROLL
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
      b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    REGARD_UNROLL
    for (int i = 0; i < 16; ++i) a[i] = b[i];
  }
  REGARD_UNROLL
  for (int i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * stride), a[i]);
}

}  // namespace
}  // namespace regard::kernels
