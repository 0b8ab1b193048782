// What the running CPU and operating system support.
#pragma once

#include <cstdint>

namespace regard {

enum class CpuVendor : std::uint8_t { unknown, intel, amd };
CpuVendor cpu_vendor();
int cpu_family();  ///< as `lscpu` has it: 25 of AMD is Zen 3 and 4; 0 if unknown

bool cpu_has_avx2();         ///< AVX2, FMA and F16C, with the operating system saving ymm registers
bool cpu_has_avx512();       ///< AVX-512 F, BW, DQ and VL, with the operating system saving zmm
                             ///< registers
bool cpu_has_avx512_bf16();  ///< AVX512_BF16 too
/// Whether its dot products are held to do more than FMAs in float, by its vendor: AMD's do (twice
/// as much on Zen 5), Intel's do not (half as much on the Xeon of docs/tuning.md).
bool cpu_multiplies_bf16_faster();

}  // namespace regard
