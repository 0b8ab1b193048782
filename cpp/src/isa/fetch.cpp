#include "isa/fetch.hpp"

#include "isa/cpu.hpp"

namespace regard {
namespace {

using kernels::Fetch;

constexpr std::int64_t kKilo = 1024;

/// Facts of CPUs, not of instruction sets. What was measured is in docs/tuning.md.
struct Known {
  CpuVendor vendor;
  int first_family, last_family;
  Fetch fetch;
};

constexpr Known kKnown[] = {
    // Zen 3 to 5, measured on Zen 4 (family 25, model 17), float32 from memory, one thread, GB/s:
    // none 11.1; into L1 8 KiB ahead, rows in turn 11.1, in the order of addresses 16.3; into L2
    // 16,
    // 32, 48 KiB ahead 20.4, 20.5, 20.5.
    {CpuVendor::amd, 25, 26, {32 * kKilo, true}},
    // A Xeon: with several rows in turn, into L2 was better from memory and worse from L3. The
    // order
    // of addresses was not measured there.
    {CpuVendor::intel, 6, 6, {8 * kKilo, false}},
};

/// Others: a core keeps a dozen or two lines on their way into L1, too few to cover the latency of
/// memory, and about twice as many into L2. As far as the smallest L2 caches hold easily.
constexpr Fetch kUnknown = {16 * kKilo, true};

Fetch find() {
  const CpuVendor vendor = cpu_vendor();
  const int family = cpu_family();
  for (const Known& known : kKnown) {
    const bool fits = family >= known.first_family && family <= known.last_family;
    if (vendor == known.vendor && fits) return known.fetch;
  }
  return kUnknown;
}

}  // namespace

const kernels::Fetch& cpu_fetch() {
  static const Fetch fetch = find();
  return fetch;
}

}  // namespace regard
