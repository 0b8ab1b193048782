// A call by XLA as the core takes it: operands by name, and options among the attributes.
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "regard/attention.hpp"
#include "xla/ffi_abi.hpp"

namespace regard::xla {

/// The problem of a call frame. Attributes `operands` and `results` name the buffers in their
/// order, apart by commas; `tokens_first` says that query, key, value and what has their axes are
/// (..., length, heads, dim). All other attributes are options of the core.
class Call {
 public:
  /// @throws ValueError, TypeError if a buffer or an attribute is none that the core takes.
  explicit Call(const CallFrame& frame);

  Problem problem;

  /// Whether there is an operand or a result of that name.
  bool has_operand(std::string_view name) const { return find(operands_, name) != nullptr; }
  bool has_result(std::string_view name) const { return find(results_, name) != nullptr; }

  /// Views of them; of what is by head and token, with heads in front.
  Array operand(std::string_view name) const;
  Array result(std::string_view name) const;

 private:
  struct Named {
    std::string_view name;
    const Buffer* buffer;
  };
  friend class Reader;

  static const Buffer* find(const std::vector<Named>& buffers, std::string_view name);
  const void* attribute(std::string_view name, int kind) const;

  const CallFrame& frame_;
  std::vector<Named> operands_, results_;
  bool tokens_first_ = false;
  // Operands in a wider type than JAX has them; a deque leaves them where they are.
  std::deque<std::vector<std::int64_t>> integers_;
  std::deque<std::vector<double>> floats_;
};

/// The number of elements of a buffer.
std::int64_t count(const Buffer& buffer);

/// A buffer as an array of its shape.
Array view(const Buffer& buffer);

}  // namespace regard::xla
