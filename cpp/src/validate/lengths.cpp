// Lengths and offsets of batch elements, and the pieces of a packed batch.
#include <algorithm>
#include <string>

#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

/// One integer for each batch element, read from an array that broadcasts to the batch axes.
std::vector<std::int64_t> read_batch(const char* argument, const Array& array, const Problem& p,
                                     const CheckedProblem& checked) {
  const Shown shown = {argument, array, {}};
  if (array.dtype != DType::int64) {
    throw TypeError(message(std::string(argument) + " has dtype " + name(array.dtype) + ".",
                            {shown}, "Use integers."));
  }
  bool fits = array.rank <= checked.batch_rank;
  for (int i = 0; i < array.rank && fits; ++i) {
    const auto wanted = checked.batch_shape[static_cast<std::size_t>(checked.batch_rank - 1 - i)];
    fits = axis(array, i) == 1 || axis(array, i) == wanted;
  }
  if (!fits) {
    throw ValueError(message(
        std::string(argument) + " of shape " + tuple(array.dims()) +
            " does not broadcast to the batch axes " +
            tuple({checked.batch_shape.data(), static_cast<std::size_t>(checked.batch_rank)}) + ".",
        {show_query(p), show_key(p)}, "Give one number for each batch element, or one for all."));
  }
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(checked.batch));
  for (std::int64_t element = 0; element < checked.batch; ++element) {
    const char* at = static_cast<const char*>(array.data) +
                     checked.batch_offset(element, [&](int i) { return stride(array, i); });
    __builtin_memcpy(&numbers[static_cast<std::size_t>(element)], at, sizeof(std::int64_t));
  }
  return numbers;
}

/// room(element) is how many queries or keys a batch element has room for.
template <class Room>
void check_within(const char* argument, const char* what, const std::vector<std::int64_t>& lengths,
                  const Room& room, const Shown& shown) {
  for (std::size_t element = 0; element < lengths.size(); ++element) {
    const std::int64_t length = lengths[element];
    const std::int64_t most = room(static_cast<std::int64_t>(element));
    if (length >= 0 && length <= most) continue;
    throw ValueError(message(std::string(argument) + " holds " + std::to_string(length) +
                                 ", outside 0 .. " + std::to_string(most) + ".",
                             {shown},
                             std::string("A length counts the leading ") + what +
                                 " that exist: at least 0, at most the length of " + shown.name +
                                 "."));
  }
}

std::vector<std::int64_t> read_starts(const char* argument, const Array& array, const Shown& packed,
                                      std::int64_t total) {
  const auto refuse = [&](const std::string& problem, const char* advice) {
    throw ValueError(message(argument + problem, {packed}, advice));
  };
  if (array.dtype != DType::int64) {
    throw TypeError(message(std::string(argument) + " has dtype " + name(array.dtype) + ".", {},
                            "Use integers."));
  }
  if (array.rank != 1 || axis(array, 0) < 1) {
    refuse(
        " has shape " + tuple(array.dims()) + ".",
        "Give a 1-D array of n + 1 offsets for n pieces: where each piece begins, then the end.");
  }
  std::vector<std::int64_t> starts(static_cast<std::size_t>(axis(array, 0)));
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const char* at =
        static_cast<const char*>(array.data) + static_cast<std::int64_t>(i) * stride(array, 0);
    __builtin_memcpy(&starts[i], at, sizeof(std::int64_t));
  }
  if (starts.front() != 0) {
    refuse(" begins with " + std::to_string(starts.front()) + ".", "The first piece begins at 0.");
  }
  for (std::size_t i = 1; i < starts.size(); ++i) {
    if (starts[i] >= starts[i - 1]) continue;
    refuse(" falls from " + std::to_string(starts[i - 1]) + " to " + std::to_string(starts[i]) +
               " at index " + std::to_string(i) + ".",
           "Offsets never fall: a piece begins where the one before it ends.");
  }
  if (starts.back() != total) {
    refuse(" ends with " + std::to_string(starts.back()) + ", not " + std::to_string(total) + ".",
           "The last offset is the number of rows in the packed array.");
  }
  return starts;
}

std::int64_t longest(const std::vector<std::int64_t>& starts) {
  std::int64_t most = 0;
  for (std::size_t i = 1; i < starts.size(); ++i) most = std::max(most, starts[i] - starts[i - 1]);
  return most;
}

}  // namespace

void check_pieces(const Problem& p, CheckedProblem& checked) {
  const bool paged = p.block_table.has_value();  // keys then have lengths instead of starts
  if (!p.query_starts || p.key_starts.has_value() == paged || checked.batch_rank > 0) {
    throw ValueError(message("packed pieces need offsets of queries and keys, and no batch axes.",
                             {show_query(p), show_key(p), show_value(p)},
                             "Give query (total queries, heads, head_dim) and key, value (total "
                             "keys, heads, dim), with cu_seqlens_q and cu_seqlens_k; of keys in "
                             "pages, block_table and key_lengths."));
  }
  checked.query_starts =
      read_starts("cu_seqlens_q", *p.query_starts, show_query(p), checked.queries);
  if (!paged) {
    checked.key_starts = read_starts("cu_seqlens_k", *p.key_starts, show_key(p), checked.keys);
    checked.keys = longest(checked.key_starts);
  }
  if (!paged && checked.query_starts.size() != checked.key_starts.size()) {
    throw ValueError(message("cu_seqlens_q and cu_seqlens_k disagree on the number of pieces" +
                                 versus(static_cast<std::int64_t>(checked.query_starts.size()) - 1,
                                        static_cast<std::int64_t>(checked.key_starts.size()) - 1),
                             {show_query(p), show_key(p)},
                             "Each piece has queries and keys, though it may have none."));
  }
  checked.batch = static_cast<std::int64_t>(checked.query_starts.size()) - 1;
  checked.batch_rank = 1;
  checked.batch_shape[0] = checked.batch;
  checked.query.batch_strides[0] = checked.key.batch_strides[0] = checked.value.batch_strides[0] =
      0;
  checked.queries = longest(checked.query_starts);
}

void check_lengths(const Problem& p, CheckedProblem& checked) {
  if (p.key_lengths) {
    checked.key_lengths = read_batch("key_lengths", *p.key_lengths, p, checked);
    check_within(
        "key_lengths", "keys", checked.key_lengths,
        [&](std::int64_t element) { return checked.key_room(element); }, show_key(p));
  }
  if (p.query_lengths) {
    checked.query_lengths = read_batch("query_lengths", *p.query_lengths, p, checked);
    check_within(
        "query_lengths", "queries", checked.query_lengths,
        [&](std::int64_t element) { return checked.query_room(element); }, show_query(p));
  }
  if (p.query_offset) {
    checked.query_offsets = read_batch("query_offset", *p.query_offset, p, checked);
  }
  if (p.dropout_elements) {
    checked.dropout_elements = read_batch("dropout_elements", *p.dropout_elements, p, checked);
  }
}

}  // namespace regard
