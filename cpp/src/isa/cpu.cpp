#include "isa/cpu.hpp"

#if defined(__x86_64__)

#include <cpuid.h>

#include <cstdint>

namespace regard {
namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx,
                    &r.edx);  // leaves zeros for unknown leaves
  return r;
}

bool bit(unsigned word, int position) { return (word >> position) & 1u; }

/// The register state that the operating system saves: a CPU flag alone is no promise.
std::uint64_t saved_state() {
  if (!bit(cpuid(1).ecx, 27)) return 0;  // OSXSAVE
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

constexpr std::uint64_t kYmm = 0x6;   // XMM, YMM
constexpr std::uint64_t kZmm = 0xE6;  // and opmask, upper ZMM, high ZMM

}  // namespace

bool cpu_has_avx2() {
  const Registers one = cpuid(1), seven = cpuid(7);
  const bool flags = bit(one.ecx, 28) && bit(one.ecx, 12) && bit(one.ecx, 29) &&  // AVX FMA F16C
                     bit(seven.ebx, 5);                                           // AVX2
  return flags && (saved_state() & kYmm) == kYmm;
}

bool cpu_has_avx512() {
  const unsigned ebx = cpuid(7).ebx;
  const bool flags = bit(ebx, 16) && bit(ebx, 17) && bit(ebx, 30) && bit(ebx, 31);  // F DQ BW VL
  return flags && cpu_has_avx2() && (saved_state() & kZmm) == kZmm;
}

bool cpu_has_avx512_bf16() { return cpu_has_avx512() && bit(cpuid(7, 1).eax, 5); }

CpuVendor cpu_vendor() {
  switch (cpuid(0).ebx) {
    case 0x68747541: return CpuVendor::amd;    // "Auth" of "AuthenticAMD"
    case 0x756E6547: return CpuVendor::intel;  // "Genu" of "GenuineIntel"
    default: return CpuVendor::unknown;
  }
}

int cpu_family() {
  const unsigned eax = cpuid(1).eax, base = (eax >> 8) & 0xF, extended = (eax >> 20) & 0xFF;
  return static_cast<int>(base == 0xF ? base + extended : base);
}

bool cpu_multiplies_bf16_faster() {
  return cpu_vendor() == CpuVendor::amd && cpu_has_avx512_bf16();
}

}  // namespace regard

#else

namespace regard {

CpuVendor cpu_vendor() { return CpuVendor::unknown; }
int cpu_family() { return 0; }
bool cpu_has_avx2() { return false; }
bool cpu_has_avx512() { return false; }
bool cpu_has_avx512_bf16() { return false; }
bool cpu_multiplies_bf16_faster() { return false; }

}  // namespace regard

#endif
