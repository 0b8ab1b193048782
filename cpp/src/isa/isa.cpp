#include "regard/isa.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "base/threads.hpp"
#include "isa/cpu.hpp"
#include "isa/dispatch.hpp"
#include "regard/error.hpp"

namespace regard {
namespace {

using kernels::KernelTable;

struct Level {
  KernelTable table;
  bool (*supported)();
};

bool always() { return true; }

/// Every level of this build, best first, but for those that a CPU may prefer. CMake defines
/// REGARD_HAVE_* for the files it compiled.
constexpr Level kLevels[] = {
#ifdef REGARD_HAVE_AVX512
    {{"avx512", &kernels::avx512_kernels, nullptr}, cpu_has_avx512},
#ifdef REGARD_HAVE_AVX512_BF16
    {{"avx512_bf16", &kernels::avx512_kernels, &kernels::avx512_bf16_kernels}, cpu_has_avx512_bf16},
#endif
#endif
#ifdef REGARD_HAVE_AVX2
    {{"avx2", &kernels::avx2_kernels, nullptr}, cpu_has_avx2},
#endif
#ifdef REGARD_HAVE_NEON
    {{"neon", &kernels::neon_kernels, nullptr}, always},  // every AArch64 CPU has it
#endif
    {{"generic", &kernels::generic_kernels, nullptr}, always},
};

/// Whether a level goes before all others. Where the dot products of AVX512_BF16 are no faster than
/// FMA, widening bfloat16 is as fast and rounds less. The vendor decides, not a measurement: on one
/// machine results are always the same.
bool preferred(const KernelTable* table) {
  return table->bf16 != nullptr && cpu_multiplies_bf16_faster();
}

const std::vector<const KernelTable*>& available_tables() {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> found;
    for (const Level& level : kLevels) {
      if (level.supported()) found.push_back(&level.table);
    }
    std::ranges::stable_partition(found, preferred);
    return found;
  }();
  return tables;
}

const KernelTable& find(std::string_view name, std::string_view argument) {
  std::string list;
  for (const KernelTable* table : available_tables()) {
    if (table->isa == name) return *table;
    list += list.empty() ? "" : ", ";
    list += table->isa;
  }
  throw ValueError(std::string(argument) + ": '" + std::string(name) +
                   "' is not an instruction set of this build and CPU.\n  Choose one of: " + list +
                   ".");
}

std::atomic<const KernelTable*>& active() {
  static std::atomic<const KernelTable*> table = [] {
    const char* forced = std::getenv("REGARD_ISA");
    return forced != nullptr && *forced != '\0' ? &find(forced, "REGARD_ISA")
                                                : available_tables().front();
  }();
  return table;
}

}  // namespace

const KernelTable& active_kernels() { return *active().load(std::memory_order_relaxed); }

std::span<const std::string_view> compiled_isas() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> found;
    for (const Level& level : kLevels) found.push_back(level.table.isa);
    return found;
  }();
  return names;
}

std::span<const std::string_view> available_isas() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> found;
    for (const KernelTable* table : available_tables()) found.push_back(table->isa);
    return found;
  }();
  return names;
}

std::string_view active_isa() { return active_kernels().isa; }

void set_isa(std::string_view name) {
  active().store(&find(name, "set_isa"), std::memory_order_relaxed);
}

double fma_ceiling(std::string_view isa, DType dtype, int threads) {
  if (threads < 1) throw ValueError("fma_ceiling: threads must be at least 1.");
  const KernelTable& table = find(isa, "fma_ceiling");
  const kernels::FloatKernels& floats = *table.floats;
  if (dtype != DType::bfloat16 && dtype != DType::float32 && dtype != DType::float64) {
    throw ValueError("fma_ceiling: dtype must be float32, float64 or bfloat16.");
  }
  const auto loop = dtype == DType::float64                  ? floats.f64.fma
                    : dtype == DType::bfloat16 && table.bf16 ? table.bf16->dot
                                                             : floats.f32.fma;
  using Clock = std::chrono::steady_clock;
  double best = 0;
  // About 1 ms a round on any CPU of this century; the best of 20 is the ceiling.
  for (int round = 0; round < 20; ++round) {
    std::atomic<double> operations = 0;
    const auto start = Clock::now();
    parallel_for(threads, threads, [&](std::int64_t, int) {
      operations.fetch_add(loop(200'000), std::memory_order_relaxed);
    });
    const std::chrono::duration<double> seconds = Clock::now() - start;
    best = best > operations / seconds.count() ? best : operations / seconds.count();
  }
  return best;
}

}  // namespace regard
