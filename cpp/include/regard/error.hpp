// What regard throws. Both are raised before any memory of the caller is read or written.
#pragma once

#include <stdexcept>

namespace regard {

/// An argument has a bad shape or value. The message names it, shows shapes and says what to do.
class ValueError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// An argument has an element type that is not accepted.
class TypeError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

}  // namespace regard
