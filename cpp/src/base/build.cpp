// What the library was built from and with.
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

}  // namespace regard
