// Checks of what is asked of the weights, and of where it goes.
#include <algorithm>
#include <string>
#include <vector>

#include "validate/validate.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

void check_count(const char* argument, std::int64_t count, std::int64_t most) {
  if (count >= 0 && count <= most) return;
  throw ValueError(message(std::string(argument) + " is " + std::to_string(count) +
                               ", outside 0 .. " + std::to_string(most) + ".",
                           {}, "Give a number within that range."));
}

}  // namespace

void validate_weights(std::span<const std::int64_t> rows, std::int64_t first_key,
                      std::int64_t last_key, const Array& out, const CheckedProblem& checked) {
  for (const std::int64_t row : rows) {
    if (row >= 0 && row < checked.queries) continue;
    throw ValueError(message("rows holds " + std::to_string(row) + ", outside 0 .. " +
                                 std::to_string(checked.queries - 1) + ".",
                             {}, "Give numbers of queries."));
  }
  if (first_key > last_key) {
    throw ValueError(message("first_key is " + std::to_string(first_key) + ", last_key " +
                                 std::to_string(last_key) + ".",
                             {}, "Give the first key, and the one after the last."));
  }
  if (first_key < 0 || last_key > checked.keys) {
    throw ValueError(
        message("keys holds a number outside 0 .. " + std::to_string(checked.keys - 1) + ".", {},
                "Give numbers of keys."));
  }
  const std::vector<std::int64_t> wanted = {checked.batch, checked.query_heads,
                                            static_cast<std::int64_t>(rows.size()),
                                            last_key - first_key};
  const Shown shown = {"out", out, {}};
  if (out.dtype != checked.dtype) {
    throw TypeError(message(std::string("out has dtype ") + name(out.dtype) + "; the weights are " +
                                name(checked.dtype) + ".",
                            {shown}, "Give an array of the type that is computed in."));
  }
  if (!std::ranges::equal(out.dims(), wanted) || !out.writable) {
    throw ValueError(message("out does not take weights of shape " + tuple(wanted) + ".", {shown},
                             "Give an array of exactly that shape that can be written."));
  }
}

void validate_summary(const Summary& summary, const CheckedProblem& checked) {
  check_count("top_k", summary.top_k, std::int64_t{1} << 32);
  check_count("query_cells", summary.query_cells, checked.queries);
  check_count("key_cells", summary.key_cells, checked.keys);
}

}  // namespace regard
