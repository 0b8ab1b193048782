// What regard throws. All are raised before any memory of the caller is read or written.
#pragma once

#include <new>
#include <stdexcept>
#include <string>
#include <utility>

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

/// Shapes ask for more memory than there is. The message says which, and for how much.
class MemoryError : public std::bad_alloc {
 public:
  explicit MemoryError(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

}  // namespace regard
