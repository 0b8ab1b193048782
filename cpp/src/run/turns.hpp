// Units that share sums take turns at them, so that sums are formed in one order whatever the
// threads do.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <thread>

#include "base/threads.hpp"

namespace regard {

/// How far a unit, and all before it in turn, is done; on a cache line of its own.
struct alignas(64) Progress {
  std::atomic<std::int64_t> end{std::numeric_limits<std::int64_t>::min()};
};

struct Turn {
  Progress* own;
  const Progress* previous;  ///< null: the first
};

/// As the kernels want them (kernel_api.hpp).
inline void wait(void* turn, std::int64_t end) {
  const Progress* previous = static_cast<Turn*>(turn)->previous;
  if (previous == nullptr) return;
  // The wait is short as a rule: the other thread is about as far. If it is not running at all, it
  // needs this one's CPU.
  for (int tries = 0; previous->end.load(std::memory_order_acquire) < end; ++tries) {
    if (tries > 2000) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    } else if (tries > 1000) {
      std::this_thread::yield();
    }
  }
}

inline void pass(void* turn, std::int64_t end) {
  static_cast<Turn*>(turn)->own->end.store(end, std::memory_order_release);
}

/// parallel_for whose indices are taken in their order: the first that is not done never waits.
template <class Body>
void parallel_in_turn(std::int64_t count, int threads, const Body& body) {
  std::atomic<std::int64_t> next = 0;
  parallel_for(threads, threads, [&](std::int64_t, int thread) {
    for (std::int64_t taken = next++; taken < count; taken = next++) body(taken, thread);
  });
}

}  // namespace regard
