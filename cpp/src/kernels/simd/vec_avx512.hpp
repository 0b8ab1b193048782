// Vector types for AVX-512 (F, BW, DQ, VL): 32 registers of 16 floats or 8 doubles.
//
// Two 512-bit FMAs a cycle with a latency of 4 want at least 8 independent accumulators, and two
// loads a cycle want every loaded or broadcast operand used more than once: 8 keys x 3 vectors
// takes 11 loads for 24 FMAs, 6 rows x 4 vectors takes 10; both leave room for the operands.
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

struct Avx512F32 {
  using scalar = float;
  using reg = __m512;
  using mask = __mmask16;
  using words = Words16;
  static constexpr int lanes = 16;
  static constexpr int score_keys = 8, score_vectors = 3;
  static constexpr int out_rows = 6, out_vectors = 4;
  static constexpr int panel_rows = 48, query_block = 4 * panel_rows, key_tile = 128;

  static reg zero() { return _mm512_setzero_ps(); }
  static reg set1(float x) { return _mm512_set1_ps(x); }
  static reg load(const float* p) { return _mm512_loadu_ps(p); }
  static reg load(const Bfloat16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  /// Numbers 0, 2, 4, ... of the 32 at p, and 1, 3, 5, ...
  static reg load_even(const Bfloat16* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  static reg load_odd(const Bfloat16* p) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), upper));
  }
  /// Lanes 0, 2, 4, ... and 1, 3, 5, ... of two vectors in a row; and back.
  static reg even(reg low, reg high) {
    const __m512i places =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(low, places, high);
  }
  static reg odd(reg low, reg high) {
    const __m512i places =
        _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_ps(low, places, high);
  }
  static reg first_of_pairs(reg even, reg odd) {
    const __m512i places = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutex2var_ps(even, places, odd);
  }
  static reg last_of_pairs(reg even, reg odd) {
    const __m512i places =
        _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
    return _mm512_permutex2var_ps(even, places, odd);
  }
  static reg load(const Float16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static reg load(const std::int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
  static void store(float* p, reg x) { _mm512_storeu_ps(p, x); }
  static void store(Bfloat16* p, reg x) {
    const __m512i bits = _mm512_castps_si512(x), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const mask is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, is_nan, quiet)));
  }
  static void store(Float16* p, reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  /// x is within the range.
  static void store(std::int8_t* p, reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
  }
  static reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm512_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm512_mul_ps(a, b); }
  static reg div(reg a, reg b) { return _mm512_div_ps(a, b); }
  static reg abs(reg x) { return _mm512_abs_ps(x); }
  static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
  /// The larger, the smaller; b when either is NaN.
  static reg max(reg a, reg b) { return _mm512_max_ps(a, b); }
  static reg min(reg a, reg b) { return _mm512_min_ps(a, b); }
  static mask less(reg a, reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static mask less_equal(reg a, reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
  static mask equal(reg a, reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static mask both(mask a, mask b) { return static_cast<mask>(a & b); }
  static bool any(mask m) { return m != 0; }
  /// m ? a : b, lane by lane.
  static reg select(mask m, reg a, reg b) { return _mm512_mask_blend_ps(m, b, a); }
  static mask at_least(__m512i x, __m512i least) { return _mm512_cmpge_epu32_mask(x, least); }
  static mask nonzero_bytes(const std::uint8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm_test_epi8_mask(x, x);
  }
  static reg exp2(reg x) {
    const mask normal = _mm512_cmp_ps_mask(x, set1(Exp2Polynomial<float>::smallest), _CMP_NLT_UQ);
    const reg f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return _mm512_maskz_scalef_ps(normal, exp2_polynomial<Avx512F32>(f), x);
  }
  /// Lane i of the result is the sum of the lanes of r[i], formed in the same order for every i.
  static reg sum_lanes(const reg (&r)[16]) {
    reg t[8], u[4], w[2];
    REGARD_UNROLL
    for (int i = 0; i < 8; ++i) {
      t[i] = add(_mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]),
                 _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]));
    }
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      u[i] = add(_mm512_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44),
                 _mm512_shuffle_ps(t[2 * i], t[2 * i + 1], 0xEE));
    }
    REGARD_UNROLL
    for (int i = 0; i < 2; ++i) {
      w[i] = add(_mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0x88),
                 _mm512_shuffle_f32x4(u[2 * i], u[2 * i + 1], 0xDD));
    }
    return add(_mm512_shuffle_f32x4(w[0], w[1], 0x88), _mm512_shuffle_f32x4(w[0], w[1], 0xDD));
  }
  static void transpose(reg (&r)[16]) {
    reg t[16];
    REGARD_UNROLL
    for (int i = 0; i < 16; i += 4) {  // 4x4 blocks inside each 128-bit lane
      const reg a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
      const reg c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]);
      const reg d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
      t[i] = _mm512_shuffle_ps(a, c, 0x44);
      t[i + 1] = _mm512_shuffle_ps(a, c, 0xEE);
      t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
      t[i + 3] = _mm512_shuffle_ps(b, d, 0xEE);
    }
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {  // then the 4x4 grid of lanes
      const reg a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
      const reg b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xDD);
      const reg c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
      const reg d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xDD);
      r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xDD);
      r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
  }
  static void transpose_bytes(const std::uint8_t* const (&rows)[16], std::uint8_t* to,
                              std::ptrdiff_t stride) {
    transpose_bytes_16x16(rows, to, stride);
  }
  static constexpr bool transposes_bytes = true;
};

struct Avx512F64 {
  using scalar = double;
  using reg = __m512d;
  using mask = __mmask8;
  using words = Words8;
  static constexpr int lanes = 8;
  static constexpr int score_keys = 8, score_vectors = 3;
  static constexpr int out_rows = 6, out_vectors = 4;
  static constexpr int panel_rows = 24, query_block = 4 * panel_rows, key_tile = 128;

  static reg zero() { return _mm512_setzero_pd(); }
  static reg set1(double x) { return _mm512_set1_pd(x); }
  static reg load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, reg x) { _mm512_storeu_pd(p, x); }
  static reg add(reg a, reg b) { return _mm512_add_pd(a, b); }
  static reg sub(reg a, reg b) { return _mm512_sub_pd(a, b); }
  static reg mul(reg a, reg b) { return _mm512_mul_pd(a, b); }
  static reg div(reg a, reg b) { return _mm512_div_pd(a, b); }
  static reg abs(reg x) { return _mm512_abs_pd(x); }
  static reg fma(reg a, reg b, reg c) { return _mm512_fmadd_pd(a, b, c); }
  static reg max(reg a, reg b) { return _mm512_max_pd(a, b); }
  static reg min(reg a, reg b) { return _mm512_min_pd(a, b); }
  static mask less(reg a, reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static mask less_equal(reg a, reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
  static mask equal(reg a, reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
  static mask both(mask a, mask b) { return static_cast<mask>(a & b); }
  static bool any(mask m) { return m != 0; }
  static reg select(mask m, reg a, reg b) { return _mm512_mask_blend_pd(m, b, a); }
  static mask at_least(__m256i x, __m256i least) { return _mm256_cmpge_epu32_mask(x, least); }
  static mask nonzero_bytes(const std::uint8_t* p) {
    const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return static_cast<mask>(_mm_test_epi8_mask(x, x));
  }
  static reg exp2(reg x) {
    const mask normal = _mm512_cmp_pd_mask(x, set1(Exp2Polynomial<double>::smallest), _CMP_NLT_UQ);
    const reg f = _mm512_reduce_pd(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return _mm512_maskz_scalef_pd(normal, exp2_polynomial<Avx512F64>(f), x);
  }
  static reg sum_lanes(const reg (&r)[8]) {
    reg t[4], u[2];
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      t[i] = add(_mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]),
                 _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]));
    }
    REGARD_UNROLL
    for (int i = 0; i < 2; ++i) {
      u[i] = add(_mm512_shuffle_f64x2(t[2 * i], t[2 * i + 1], 0x88),
                 _mm512_shuffle_f64x2(t[2 * i], t[2 * i + 1], 0xDD));
    }
    return add(_mm512_shuffle_f64x2(u[0], u[1], 0x88), _mm512_shuffle_f64x2(u[0], u[1], 0xDD));
  }
  static void transpose(reg (&r)[8]) {
    reg t[8];
    REGARD_UNROLL
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    REGARD_UNROLL
    for (int i = 0; i < 2; ++i) {
      const reg a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88);
      const reg b = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xDD);
      const reg c = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88);
      const reg d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xDD);
      r[i] = _mm512_shuffle_f64x2(a, c, 0x88);
      r[i + 2] = _mm512_shuffle_f64x2(b, d, 0x88);
      r[i + 4] = _mm512_shuffle_f64x2(a, c, 0xDD);
      r[i + 6] = _mm512_shuffle_f64x2(b, d, 0xDD);
    }
  }
  static void transpose_bytes(const std::uint8_t* const (&rows)[16], std::uint8_t* to,
                              std::ptrdiff_t stride) {
    transpose_bytes_16x16(rows, to, stride);
  }
  static constexpr bool transposes_bytes = true;
};

}  // namespace
}  // namespace regard::kernels
