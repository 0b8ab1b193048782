// What the library was built from and with.
#include "base/threads.hpp"
#include "regard/attention.hpp"

namespace regard {

const char* version() { return REGARD_VERSION; }

const char* compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

int default_thread_count() { return default_threads(); }

}  // namespace regard
