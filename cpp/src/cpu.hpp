// What the running CPU and operating system support.
#pragma once

namespace regard {

bool cpu_has_avx2();         ///< AVX2, FMA and F16C, with the operating system saving ymm registers
bool cpu_has_avx512();       ///< AVX-512 F, BW, DQ and VL, with the operating system saving zmm
                             ///< registers
bool cpu_has_avx512_bf16();  ///< AVX512_BF16 too
/// Whether its dot products run at more than the rate of FMA in float: they do at twice that on AMD
/// (Zen 4 and 5), at that at best on Intel.
bool cpu_multiplies_bf16_faster();

}  // namespace regard
