// AVX512_BF16: 16 dot products of two pairs of bfloat16, added to 16 floats.
//
// vdpbf16ps has the register tiles of FMA: at most two a cycle, with a latency of 4 to 6. It rounds
// to nearest even and takes subnormal numbers as 0, whatever the CPU is set to.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/simd/elements.hpp"
#include "kernels/simd/vec_avx512.hpp"

namespace regard::kernels {
namespace {

/// Products take words, two bfloat16 in the lane of a float, the first in its low half; sums are
/// those of Avx512F32.
struct Avx512Bf16 : Avx512F32 {
  /// c + a.first * b.first + a.second * b.second
  static reg fma(reg a, reg b, reg c) { return _mm512_dpbf16_ps(c, pairs(a), pairs(b)); }
  static reg mul(reg a, reg b) { return fma(a, b, zero()); }
  /// A product of two floats.
  static reg scale(reg a, reg b) { return _mm512_mul_ps(a, b); }

  /// Words of numbers rounded to nearest even.
  static reg join(reg first, reg second) {
    const auto rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, rounded));
  }
  static reg join(const Bfloat16* first, const Bfloat16* second) {
    return _mm512_castsi512_ps(
        _mm512_or_si512(halves(first), _mm512_slli_epi32(halves(second), 16)));
  }
  /// The numbers of words.
  static reg first(reg words) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(words), 16));
  }
  static reg second(reg words) { return second_only(words); }
  /// Words with a 0 in place of the other number.
  static reg first_only(reg words) { return masked(words, 0x0000FFFF); }
  static reg second_only(reg words) { return masked(words, static_cast<int>(0xFFFF0000)); }

 private:
  static __m512bh pairs(reg x) { return reinterpret_cast<__m512bh>(x); }
  static reg masked(reg x, int bits) {
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(bits)));
  }
  static __m512i halves(const Bfloat16* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
};

}  // namespace
}  // namespace regard::kernels
