// How fast memory can be read: the ceiling of decode.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <chrono>
#include <cstring>
#include <memory>
#include <new>

#include "base/threads.hpp"
#include "isa/dispatch.hpp"
#include "regard/error.hpp"
#include "regard/isa.hpp"

namespace regard {
namespace {

constexpr std::int64_t kKilo = 1024, kPage = std::int64_t{2} << 20;
// Bytes ahead that are asked for. What is best differs from CPU to CPU; the fastest counts.
constexpr std::int64_t kAhead[] = {0, 1024, 4096};

struct Free {
  void operator()(char* memory) const { ::operator delete(memory, std::align_val_t{kPage}); }
};

}  // namespace

double read_bandwidth(std::int64_t bytes, int threads) {
  if (threads < 1 || bytes < threads * kKilo) {
    throw ValueError("read_bandwidth: give at least 1 thread, and 1 KiB for each.");
  }
  const std::int64_t whole = (bytes + kPage - 1) / kPage * kPage;
  const std::unique_ptr<char, Free> store(static_cast<char*>(
      ::operator new(static_cast<std::size_t>(whole), std::align_val_t{kPage}, std::nothrow)));
  if (!store) throw ValueError("read_bandwidth: no memory for so many bytes.");
#ifdef __linux__
  madvise(store.get(), static_cast<std::size_t>(whole), MADV_HUGEPAGE);  // as arrays of NumPy have
#endif
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
