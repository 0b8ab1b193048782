#include "scratch.hpp"

#include <memory>
#include <new>

namespace regard {
namespace {

constexpr std::align_val_t kPage{4096};

struct Free {
  void operator()(void* memory) const { ::operator delete(memory, kPage); }
};

}  // namespace

void* thread_scratch(std::size_t bytes) {
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

}  // namespace regard
