// Working memory of a call: one allocation, kept by the calling thread for the next call.
#pragma once

#include <cstddef>

namespace regard {

/// `bytes` for each of some threads, on pages of their own. Valid until the calling thread asks
/// again.
class ThreadScratch {
 public:
  ThreadScratch(std::size_t bytes, int threads);
  void* of(int thread) const { return memory_ + stride_ * static_cast<std::size_t>(thread); }

 private:
  std::size_t stride_;
  char* memory_;
};

}  // namespace regard
