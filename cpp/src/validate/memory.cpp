// Calls that ask for more memory than there is, which broadcast views make easy.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

#include "validate/axes.hpp"
#include "validate/validate.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

/// "1.25 PiB"
std::string in_bytes(double bytes) {
  constexpr std::array units = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  char text[64];
  std::snprintf(text, sizeof text, "%.3g %s", bytes, units[unit]);
  return text;
}

/// Numbers of the output; as a double, which does not overflow.
double output_size(const CheckedProblem& checked) {
  double numbers = 1;
  for (int i = 0; i < checked.out_rank; ++i) {
    numbers *= static_cast<double>(checked.out_shape[static_cast<std::size_t>(i)]);
  }
  return numbers;
}

}  // namespace

void check_memory(const Problem& p, const CheckedProblem& checked) {
  constexpr double address_space = 0x1p47;                  // bytes, of x86-64
  double pairs = static_cast<double>(checked.query_heads);  // of batch element and head
  for (int i = 0; i < checked.batch_rank; ++i) {
    pairs *= static_cast<double>(checked.batch_shape[static_cast<std::size_t>(i)]);
  }
  const double bytes =
      std::max(output_size(checked) * static_cast<double>(size(checked.out_dtype)), 8 * pairs);
  if (bytes >= address_space) throw MemoryError(memory_message(p, checked));
}

std::string memory_message(const Problem& p, const CheckedProblem& checked) {
  const auto rank = static_cast<std::size_t>(checked.out_rank);
  const double bytes = output_size(checked) * static_cast<double>(size(checked.out_dtype));
  return message("there is not enough memory: query, key and value broadcast to an output of " +
                     tuple({checked.out_shape.data(), rank}) + " " + name(checked.out_dtype) +
                     ", " + in_bytes(bytes) + ".",
                 {show_query(p), show_key(p), show_value(p)},
                 "Give fewer heads or batch elements in one call; those of broadcast views count.");
}

}  // namespace regard
