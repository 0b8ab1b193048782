// Vector types for AVX2 with FMA: 16 registers of 8 floats or 4 doubles.
//
// 6 x 2 accumulators and their operands fill the 16 registers: 8 loads for 12 FMAs.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd/elements.hpp"
#include "kernels/simd/exp2.hpp"
#include "kernels/simd/transpose_x86.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/simd/words_x86.hpp"

namespace regard::kernels {
namespace {

struct Avx2F32 {
  using scalar = float;
  using reg = __m256;
  using mask = __m256;  // all bits of a lane, or none
  using words = Words8;
  static constexpr int lanes = 8;
  static constexpr int score_keys = 6, score_vectors = 2;
  static constexpr int out_rows = 6, out_vectors = 2;
  static constexpr int panel_rows = 48, query_block = 4 * panel_rows, key_tile = 64;

  static reg zero() { return _mm256_setzero_ps(); }
  static reg set1(float x) { return _mm256_set1_ps(x); }
  static reg load(const float* p) { return _mm256_loadu_ps(p); }
  static reg load(const Bfloat16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  /// Numbers 0, 2, 4, ... of the 16 at p, and 1, 3, 5, ...
  static reg load_even(const Bfloat16* p) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  }
  static reg load_odd(const Bfloat16* p) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xFFFF0000));
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
  }
  /// Lanes 0, 2, 4, ... and 1, 3, 5, ... of two vectors in a row; and back.
  static reg even(reg low, reg high) { return in_order(_mm256_shuffle_ps(low, high, 0x88)); }
  static reg odd(reg low, reg high) { return in_order(_mm256_shuffle_ps(low, high, 0xDD)); }
  static reg first_of_pairs(reg even, reg odd) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd),
                                  0x20);
  }
  static reg last_of_pairs(reg even, reg odd) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd),
                                  0x31);
  }
  static reg load(const Float16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static reg load(const std::int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  static void store(float* p, reg x) { _mm256_storeu_ps(p, x); }
  static void store(Bfloat16* p, reg x) {
    const __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i words = _mm256_blendv_epi8(rounded, quiet, is_nan);
    const __m256i packed = _mm256_packus_epi32(words, words);  // within each half
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
  }
  static void store(Float16* p, reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  /// x is within the range.
  static void store(std::int8_t* p, reg x) {
    const __m256i words = _mm256_cvtps_epi32(x);
    const __m128i halves =
        _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
  }
  static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm256_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm256_mul_ps(a, b); }
  static reg div(reg a, reg b) { return _mm256_div_ps(a, b); }
  static reg abs(reg x) { return _mm256_andnot_ps(set1(-0.0f), x); }
  static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
  /// The larger, the smaller; b when either is NaN.
  static reg max(reg a, reg b) { return _mm256_max_ps(a, b); }
  static reg min(reg a, reg b) { return _mm256_min_ps(a, b); }
  static mask less(reg a, reg b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static mask less_equal(reg a, reg b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
  static mask equal(reg a, reg b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
  static mask both(mask a, mask b) { return _mm256_and_ps(a, b); }
  static bool any(mask m) { return _mm256_movemask_ps(m) != 0; }
  /// m ? a : b, lane by lane.
  static reg select(mask m, reg a, reg b) { return _mm256_blendv_ps(b, a, m); }
  static mask at_least(__m256i x, __m256i least) {
    return _mm256_castsi256_ps(Words8::at_least(x, least));
  }
  static mask nonzero_bytes(const std::uint8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    const __m256i words = _mm256_cvtepu8_epi32(bytes);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(words, _mm256_setzero_si256()));
  }
  static reg exp2(reg x) {
    const reg smallest = set1(Exp2Polynomial<float>::smallest);
    const reg normal = _mm256_cmp_ps(x, smallest, _CMP_NLT_UQ);  // true for NaN
    const reg clamped = _mm256_max_ps(smallest, x);              // x when x is NaN
    const reg n = _mm256_floor_ps(clamped);
    const reg p = exp2_polynomial<Avx2F32>(_mm256_sub_ps(clamped, n));
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    const __m256i scaled = _mm256_add_epi32(_mm256_castps_si256(p), exponent);
    return _mm256_and_ps(_mm256_castsi256_ps(scaled), normal);
  }
  /// Lane i of the result is the sum of the lanes of r[i], formed in the same order for every i.
  static reg sum_lanes(const reg (&r)[8]) {
    reg t[4], u[2];
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      t[i] = add(_mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]),
                 _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]));
    }
    REGARD_UNROLL
    for (int i = 0; i < 2; ++i) {
      u[i] = add(_mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44),
                 _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0xEE));
    }
    return add(_mm256_permute2f128_ps(u[0], u[1], 0x20), _mm256_permute2f128_ps(u[0], u[1], 0x31));
  }
  static void transpose(reg (&r)[8]) {
    reg t[8];
    REGARD_UNROLL
    for (int i = 0; i < 8; i += 4) {  // 4x4 blocks inside each 128-bit lane
      const reg a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
      const reg c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
      const reg d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
      t[i] = _mm256_shuffle_ps(a, c, 0x44);
      t[i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
      t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
      t[i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {  // then the lanes
      r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
  }
  static void transpose_bytes(const std::uint8_t* const (&rows)[16], std::uint8_t* to,
                              std::ptrdiff_t stride) {
    transpose_bytes_16x16(rows, to, stride);
  }
  static constexpr bool transposes_bytes = true;

 private:
  /// Undoes what instructions on halves of 128 bits do to pairs of lanes.
  static reg in_order(reg x) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xD8));
  }
};

struct Avx2F64 {
  using scalar = double;
  using reg = __m256d;
  using mask = __m256d;
  using words = Words4;
  static constexpr int lanes = 4;
  static constexpr int score_keys = 6, score_vectors = 2;
  static constexpr int out_rows = 6, out_vectors = 2;
  static constexpr int panel_rows = 24, query_block = 4 * panel_rows, key_tile = 64;

  static reg zero() { return _mm256_setzero_pd(); }
  static reg set1(double x) { return _mm256_set1_pd(x); }
  static reg load(const double* p) { return _mm256_loadu_pd(p); }
  static void store(double* p, reg x) { _mm256_storeu_pd(p, x); }
  static reg add(reg a, reg b) { return _mm256_add_pd(a, b); }
  static reg sub(reg a, reg b) { return _mm256_sub_pd(a, b); }
  static reg mul(reg a, reg b) { return _mm256_mul_pd(a, b); }
  static reg div(reg a, reg b) { return _mm256_div_pd(a, b); }
  static reg abs(reg x) { return _mm256_andnot_pd(set1(-0.0), x); }
  static reg fma(reg a, reg b, reg c) { return _mm256_fmadd_pd(a, b, c); }
  static reg max(reg a, reg b) { return _mm256_max_pd(a, b); }
  static reg min(reg a, reg b) { return _mm256_min_pd(a, b); }
  static mask less(reg a, reg b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
  static mask less_equal(reg a, reg b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
  static mask equal(reg a, reg b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
  static mask both(mask a, mask b) { return _mm256_and_pd(a, b); }
  static bool any(mask m) { return _mm256_movemask_pd(m) != 0; }
  static reg select(mask m, reg a, reg b) { return _mm256_blendv_pd(b, a, m); }
  static mask at_least(__m128i x, __m128i least) {
    return _mm256_castsi256_pd(_mm256_cvtepi32_epi64(Words4::at_least(x, least)));
  }
  static mask nonzero_bytes(const std::uint8_t* p) {
    std::int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    const __m256i words = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
    return _mm256_castsi256_pd(_mm256_cmpgt_epi64(words, _mm256_setzero_si256()));
  }
  static reg exp2(reg x) {
    const reg smallest = set1(Exp2Polynomial<double>::smallest);
    const reg normal = _mm256_cmp_pd(x, smallest, _CMP_NLT_UQ);
    const reg clamped = _mm256_max_pd(smallest, x);
    const reg n = _mm256_floor_pd(clamped);
    const reg p = exp2_polynomial<Avx2F64>(_mm256_sub_pd(clamped, n));
    const __m256i integer = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
    const __m256i scaled = _mm256_add_epi64(_mm256_castpd_si256(p), _mm256_slli_epi64(integer, 52));
    return _mm256_and_pd(_mm256_castsi256_pd(scaled), normal);
  }
  static reg sum_lanes(const reg (&r)[4]) {
    const reg t = add(_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1]));
    const reg u = add(_mm256_unpacklo_pd(r[2], r[3]), _mm256_unpackhi_pd(r[2], r[3]));
    return add(_mm256_permute2f128_pd(t, u, 0x20), _mm256_permute2f128_pd(t, u, 0x31));
  }
  static void transpose(reg (&r)[4]) {
    const reg a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const reg c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
  }
  static void transpose_bytes(const std::uint8_t* const (&rows)[16], std::uint8_t* to,
                              std::ptrdiff_t stride) {
    transpose_bytes_16x16(rows, to, stride);
  }
  static constexpr bool transposes_bytes = true;
};

}  // namespace
}  // namespace regard::kernels
