#include "run/scratch.hpp"

#include <memory>
#include <new>

namespace regard {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::align_val_t kPage{kPageBytes};

struct Free {
  void operator()(void* memory) const { ::operator delete(memory, kPage); }
};

void* kept_memory(std::size_t bytes) {
  thread_local std::unique_ptr<void, Free> memory;
  thread_local std::size_t capacity = 0;
  if (bytes > capacity) {
    memory.reset();
    capacity = 0;
    memory.reset(::operator new(bytes, kPage));
    capacity = bytes;
  }
  return memory.get();
}

}  // namespace

ThreadScratch::ThreadScratch(std::size_t bytes, int threads)
    : stride_((bytes + kPageBytes - 1) / kPageBytes * kPageBytes),
      memory_(static_cast<char*>(kept_memory(stride_ * static_cast<std::size_t>(threads)))) {}

}  // namespace regard
