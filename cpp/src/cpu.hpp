// What the running CPU and operating system support.
#pragma once

namespace regard {

bool cpu_has_avx2();    ///< AVX2, FMA and F16C, with the operating system saving ymm registers
bool cpu_has_avx512();  ///< AVX-512 F, BW, DQ and VL, with the operating system saving zmm
                        ///< registers

}  // namespace regard
