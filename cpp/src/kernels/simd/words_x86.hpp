// Vectors of 32-bit words on x86, one for each lane of a vector of floats or doubles.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace regard::kernels {
namespace {

struct Words4 {
  using reg = __m128i;
  static reg set1(std::uint32_t x) { return _mm_set1_epi32(static_cast<int>(x)); }
  static reg load(const std::uint32_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static reg exclusive_or(reg a, reg b, reg c) { return _mm_xor_si128(_mm_xor_si128(a, b), c); }
  /// The halves of the 64-bit products x * m.
  static void multiply(reg x, reg m, reg& high, reg& low) {
    const reg even = _mm_mul_epu32(x, m);
    const reg odd = _mm_mul_epu32(_mm_shuffle_epi32(x, 0xF5), m);
    high = _mm_blend_epi32(_mm_shuffle_epi32(even, 0xF5), odd, 0xA);
    low = _mm_blend_epi32(even, _mm_shuffle_epi32(odd, 0xA0), 0xA);
  }
  static reg at_least(reg x, reg least) { return _mm_cmpeq_epi32(_mm_max_epu32(x, least), x); }
};

struct Words8 {
  using reg = __m256i;
  static reg set1(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static reg load(const std::uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static reg exclusive_or(reg a, reg b, reg c) {
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
  }
  static void multiply(reg x, reg m, reg& high, reg& low) {
    const reg even = _mm256_mul_epu32(x, m);
    const reg odd = _mm256_mul_epu32(_mm256_shuffle_epi32(x, 0xF5), m);
    high = _mm256_blend_epi32(_mm256_shuffle_epi32(even, 0xF5), odd, 0xAA);
    low = _mm256_blend_epi32(even, _mm256_shuffle_epi32(odd, 0xA0), 0xAA);
  }
  static reg at_least(reg x, reg least) {
    return _mm256_cmpeq_epi32(_mm256_max_epu32(x, least), x);
  }
};

#ifdef __AVX512F__
struct Words16 {
  using reg = __m512i;
  static reg set1(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static reg load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
  static reg exclusive_or(reg a, reg b, reg c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
  static void multiply(reg x, reg m, reg& high, reg& low) {
    const reg even = _mm512_mul_epu32(x, m);
    const reg odd = _mm512_mul_epu32(_mm512_shuffle_epi32(x, _MM_PERM_DDBB), m);
    high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    low = _mm512_mask_shuffle_epi32(even, 0xAAAA, odd, _MM_PERM_CCAA);
  }
};
#endif

}  // namespace
}  // namespace regard::kernels
