// How fast memory can be read: the ceiling of decode.
#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/threads.hpp"
#include "isa/dispatch.hpp"
#include "regard/error.hpp"
#include "regard/isa.hpp"

namespace regard {
namespace {

constexpr std::int64_t kKilo = 1024, kPage = std::int64_t{2} << 20;
// Bytes ahead that are asked for. What is best differs from CPU to CPU; the fastest counts.
constexpr std::int64_t kAhead[] = {0, 1024, 4096};

}  // namespace

double read_bandwidth(std::int64_t bytes, int threads) {
  if (threads < 1 || bytes < threads * kKilo) {
    throw ValueError("read_bandwidth: give at least 1 thread, and 1 KiB for each.");
  }
  const std::int64_t whole = (bytes + kPage - 1) / kPage * kPage;
  const std::unique_ptr<char, decltype(&std::free)> store(
      static_cast<char*>(std::aligned_alloc(kPage, static_cast<std::size_t>(whole))), &std::free);
  if (!store) throw ValueError("read_bandwidth: no memory for so many bytes.");
  madvise(store.get(), static_cast<std::size_t>(whole), MADV_HUGEPAGE);  // as arrays of NumPy have
  std::memset(store.get(), 1, static_cast<std::size_t>(whole));
  const auto read = active_kernels().floats->f32.read;
  const std::int64_t part = bytes / threads / kKilo * kKilo;
  using Clock = std::chrono::steady_clock;
  double best = 0;
  // At least three rounds, and enough for 50 ms at 10 GB/s.
  const std::int64_t rounds = 3 + std::int64_t{500'000'000} / bytes;
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (const std::int64_t ahead : kAhead) {
      const auto start = Clock::now();
      parallel_for(threads, threads,
                   [&](std::int64_t index, int) { read(store.get() + index * part, part, ahead); });
      const std::chrono::duration<double> seconds = Clock::now() - start;
      const double speed = static_cast<double>(part * threads) / seconds.count();
      best = best > speed ? best : speed;
    }
  }
  return best;
}

}  // namespace regard
