// Vector types for NEON on AArch64: 32 registers of 4 floats or 2 doubles.
//
// 8 keys x 2 vectors and 8 rows x 3 vectors: 16 and 24 accumulators beside their operands.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kernels/simd/elements.hpp"
#include "kernels/simd/exp2.hpp"
#include "kernels/simd/unroll.hpp"

namespace regard::kernels {
namespace {

/// 32-bit words, one a lane.
struct NeonWords4 {
  using reg = uint32x4_t;
  static reg set1(std::uint32_t x) { return vdupq_n_u32(x); }
  static reg load(const std::uint32_t* p) { return vld1q_u32(p); }
  static reg exclusive_or(reg a, reg b, reg c) { return veorq_u32(veorq_u32(a, b), c); }
  /// The halves of the 64-bit products x * m.
  static void multiply(reg x, reg m, reg& high, reg& low) {
    const uint64x2_t first = vmull_u32(vget_low_u32(x), vget_low_u32(m));
    const uint64x2_t second = vmull_u32(vget_high_u32(x), vget_high_u32(m));
    low = vuzp1q_u32(vreinterpretq_u32_u64(first), vreinterpretq_u32_u64(second));
    high = vuzp2q_u32(vreinterpretq_u32_u64(first), vreinterpretq_u32_u64(second));
  }
};

struct NeonWords2 {
  using reg = uint32x2_t;
  static reg set1(std::uint32_t x) { return vdup_n_u32(x); }
  static reg load(const std::uint32_t* p) { return vld1_u32(p); }
  static reg exclusive_or(reg a, reg b, reg c) { return veor_u32(veor_u32(a, b), c); }
  static void multiply(reg x, reg m, reg& high, reg& low) {
    const uint64x2_t product = vmull_u32(x, m);
    low = vmovn_u64(product);
    high = vshrn_n_u64(product, 32);
  }
};

struct NeonF32 {
  using scalar = float;
  using reg = float32x4_t;
  using mask = uint32x4_t;
  using words = NeonWords4;
  static constexpr int lanes = 4;
  static constexpr int score_keys = 8, score_vectors = 2;
  static constexpr int out_rows = 8, out_vectors = 3;
  static constexpr int panel_rows = 48, query_block = 4 * panel_rows, key_tile = 64;

  static reg zero() { return vdupq_n_f32(0); }
  static reg set1(float x) { return vdupq_n_f32(x); }
  static reg load(const float* p) { return vld1q_f32(p); }
  static reg load(const Bfloat16* p) { return vreinterpretq_f32_u32(vshll_n_u16(bits16(p), 16)); }
  static reg load(const Float16* p) { return vcvt_f32_f16(vreinterpret_f16_u16(bits16(p))); }
  static reg load(const std::int8_t* p) {
    std::int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    const int16x8_t halves = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(bytes)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(halves)));
  }
  static void store(float* p, reg x) { vst1q_f32(p, x); }
  static void store(Bfloat16* p, reg x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x), upper = vshrq_n_u32(bits, 16);
    const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
    const uint32x4_t half = vaddq_u32(odd, vdupq_n_u32(0x7FFF));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, half), 16);
    const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
    store16(p, vmovn_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet)));
  }
  static void store(Float16* p, reg x) { store16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
  /// x is within the range.
  static void store(std::int8_t* p, reg x) {
    const int16x4_t halves = vmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
    const std::int32_t word = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    __builtin_memcpy(p, &word, sizeof word);
  }
  static reg add(reg a, reg b) { return vaddq_f32(a, b); }
  static reg sub(reg a, reg b) { return vsubq_f32(a, b); }
  static reg mul(reg a, reg b) { return vmulq_f32(a, b); }
  static reg div(reg a, reg b) { return vdivq_f32(a, b); }
  static reg abs(reg x) { return vabsq_f32(x); }
  static reg fma(reg a, reg b, reg c) { return vfmaq_f32(c, a, b); }
  /// The larger, the smaller; b when either is NaN.
  static reg max(reg a, reg b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static reg min(reg a, reg b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static mask less(reg a, reg b) { return vcltq_f32(a, b); }
  static mask less_equal(reg a, reg b) { return vcleq_f32(a, b); }
  static mask equal(reg a, reg b) { return vceqq_f32(a, b); }
  static mask both(mask a, mask b) { return vandq_u32(a, b); }
  static bool any(mask m) { return vmaxvq_u32(m) != 0; }
  /// m ? a : b, lane by lane.
  static reg select(mask m, reg a, reg b) { return vbslq_f32(m, a, b); }
  static mask at_least(uint32x4_t x, uint32x4_t least) { return vcgeq_u32(x, least); }
  static mask nonzero_bytes(const std::uint8_t* p) {
    const std::uint32_t words[4] = {p[0], p[1], p[2], p[3]};
    const uint32x4_t x = vld1q_u32(words);
    return vtstq_u32(x, x);
  }
  static reg exp2(reg x) {
    const reg smallest = set1(Exp2Polynomial<float>::smallest);
    const mask tiny = vcltq_f32(x, smallest);  // false for NaN
    const reg clamped = max(smallest, x);      // x when x is NaN
    const reg n = vrndmq_f32(clamped);
    const reg p = exp2_polynomial<NeonF32>(vsubq_f32(clamped, n));
    const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n), 23);
    const int32x4_t scaled = vaddq_s32(vreinterpretq_s32_f32(p), exponent);
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_s32(scaled), tiny));
  }
  /// Lane i of the result is the sum of the lanes of r[i], formed in the same order for every i.
  static reg sum_lanes(const reg (&r)[4]) {
    return vpaddq_f32(vpaddq_f32(r[0], r[1]), vpaddq_f32(r[2], r[3]));
  }
  static void transpose(reg (&r)[4]) {
    const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
  }
  static constexpr bool transposes_bytes = false;

 private:
  static uint16x4_t bits16(const void* p) {
    uint16x4_t bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    return bits;
  }
  static void store16(void* p, uint16x4_t bits) { __builtin_memcpy(p, &bits, sizeof bits); }
};

struct NeonF64 {
  using scalar = double;
  using reg = float64x2_t;
  using mask = uint64x2_t;
  using words = NeonWords2;
  static constexpr int lanes = 2;
  static constexpr int score_keys = 8, score_vectors = 2;
  static constexpr int out_rows = 8, out_vectors = 3;
  static constexpr int panel_rows = 24, query_block = 4 * panel_rows, key_tile = 64;

  static reg zero() { return vdupq_n_f64(0); }
  static reg set1(double x) { return vdupq_n_f64(x); }
  static reg load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, reg x) { vst1q_f64(p, x); }
  static reg add(reg a, reg b) { return vaddq_f64(a, b); }
  static reg sub(reg a, reg b) { return vsubq_f64(a, b); }
  static reg mul(reg a, reg b) { return vmulq_f64(a, b); }
  static reg div(reg a, reg b) { return vdivq_f64(a, b); }
  static reg abs(reg x) { return vabsq_f64(x); }
  static reg fma(reg a, reg b, reg c) { return vfmaq_f64(c, a, b); }
  static reg max(reg a, reg b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
  static reg min(reg a, reg b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
  static mask less(reg a, reg b) { return vcltq_f64(a, b); }
  static mask less_equal(reg a, reg b) { return vcleq_f64(a, b); }
  static mask equal(reg a, reg b) { return vceqq_f64(a, b); }
  static mask both(mask a, mask b) { return vandq_u64(a, b); }
  static bool any(mask m) { return (vgetq_lane_u64(m, 0) | vgetq_lane_u64(m, 1)) != 0; }
  static reg select(mask m, reg a, reg b) { return vbslq_f64(m, a, b); }
  static mask at_least(uint32x2_t x, uint32x2_t least) {
    return vreinterpretq_u64_s64(vmovl_s32(vreinterpret_s32_u32(vcge_u32(x, least))));
  }
  static mask nonzero_bytes(const std::uint8_t* p) {
    const std::uint64_t words[2] = {p[0], p[1]};
    const uint64x2_t x = vld1q_u64(words);
    return vtstq_u64(x, x);
  }
  static reg exp2(reg x) {
    const reg smallest = set1(Exp2Polynomial<double>::smallest);
    const mask tiny = vcltq_f64(x, smallest);
    const reg clamped = max(smallest, x);
    const reg n = vrndmq_f64(clamped);
    const reg p = exp2_polynomial<NeonF64>(vsubq_f64(clamped, n));
    const int64x2_t exponent = vshlq_n_s64(vcvtq_s64_f64(n), 52);
    const int64x2_t scaled = vaddq_s64(vreinterpretq_s64_f64(p), exponent);
    return vreinterpretq_f64_u64(vbicq_u64(vreinterpretq_u64_s64(scaled), tiny));
  }
  static reg sum_lanes(const reg (&r)[2]) { return vpaddq_f64(r[0], r[1]); }
  static void transpose(reg (&r)[2]) {
    const reg a = vzip1q_f64(r[0], r[1]), b = vzip2q_f64(r[0], r[1]);
    r[0] = a;
    r[1] = b;
  }
  static constexpr bool transposes_bytes = false;
};

}  // namespace
}  // namespace regard::kernels
