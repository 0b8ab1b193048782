// Keys and values kept in pages, and the table that says which pages are whose.
#include <string>

#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

constexpr const char* kPageAxes[] = {"pages", "page_size", "heads", "dim"};
constexpr const char* kTableAxes[] = {"batch", "blocks"};

/// (pages, page_size, heads, columns...) as (batch..., heads, blocks * page_size, columns...),
/// with the table's batch axes, along which nothing moves.
Array follow_each_other(const Array& pages, const Array& table, bool packed) {
  Array rows;
  rows.data = pages.data;
  rows.dtype = pages.dtype;
  rows.rank = 0;
  const auto push = [&](std::int64_t size, std::int64_t stride) {
    rows.shape[static_cast<std::size_t>(rows.rank)] = size;
    rows.strides[static_cast<std::size_t>(rows.rank++)] = stride;
  };
  for (int i = 0; !packed && i + 1 < table.rank; ++i)
    push(table.shape[static_cast<std::size_t>(i)], 0);
  push(pages.shape[2], pages.strides[2]);
  push(axis(table, 0) * pages.shape[1], pages.strides[1]);
  for (std::size_t i = 3; i < static_cast<std::size_t>(pages.rank); ++i) {
    push(pages.shape[i], pages.strides[i]);
  }
  return rows;
}

void check_store(const char* argument, const Array& pages, int rank, const Problem& p) {
  const auto head_axes =
      std::span<const char* const>(kPageAxes).first(static_cast<std::size_t>(rank));
  if (pages.rank != rank) {
    throw ValueError(message(std::string(argument) + " has " + std::to_string(pages.rank) +
                                 " axes, and there is a block_table.",
                             {{argument, pages, {}}},
                             "Pages are (pages, page_size, heads, dim), their scales (pages, "
                             "page_size, heads)."));
  }
  if (pages.shape[0] != p.key.shape[0] || pages.shape[1] != p.key.shape[1]) {
    throw ValueError(message(std::string("key and ") + argument + " disagree on their pages.",
                             {{"key", p.key, kPageAxes}, {argument, pages, head_axes}},
                             "One table serves both: pages and page_size must match."));
  }
}

}  // namespace

Problem without_pages(const Problem& p, CheckedProblem& checked) {
  const Array& table = *p.block_table;
  const Shown shown = {"block_table", table, kTableAxes};
  if (table.dtype != DType::int64) {
    throw TypeError(message(std::string("block_table has dtype ") + name(table.dtype) + ".",
                            {shown}, "Use integers: numbers of pages."));
  }
  if (table.rank < 1 || table.rank > kMaxRank - 3) {
    throw ValueError(message("block_table has " + std::to_string(table.rank) + " axes.", {shown},
                             "Give (batch, blocks): the pages of each batch element in order."));
  }
  if (!p.key_lengths || p.key_starts) {
    throw ValueError(message("block_table needs key_lengths, and no cu_seqlens_k.", {shown},
                             "Say how many keys of its pages each batch element has."));
  }
  check_store("key", p.key, 4, p);
  check_store("value", p.value, 4, p);
  if (p.key_scales) check_store("key_scales", *p.key_scales, 3, p);
  if (p.value_scales) check_store("value_scales", *p.value_scales, 3, p);
  checked.page_count = p.key.shape[0];
  checked.page_size = p.key.shape[1];
  constexpr std::int64_t most = std::int64_t{1} << 31;  // far below where sizes overflow
  if (checked.page_size == 0 || checked.page_size > most || axis(table, 0) > most) {
    throw ValueError(message("key has pages of size " + std::to_string(checked.page_size) + ".",
                             {{"key", p.key, kPageAxes}, shown},
                             "A page must hold at least one key, and no more than 2^31."));
  }
  Problem rows = p;
  const bool packed = p.query_starts.has_value();
  const auto replace = [&](Array& array, Operand& operand) {
    operand.page_stride = array.shape[0] > 1 ? array.strides[0] : 0;
    array = follow_each_other(array, table, packed);
  };
  replace(rows.key, checked.key);
  replace(rows.value, checked.value);
  if (rows.key_scales) replace(*rows.key_scales, checked.key_scales);
  if (rows.value_scales) replace(*rows.value_scales, checked.value_scales);
  return rows;
}

void check_block_table(const Problem& p, CheckedProblem& checked) {
  const Array& table = *p.block_table;
  const Shown shown = {"block_table", table, kTableAxes};
  bool fits = table.rank - 1 <= checked.batch_rank;
  for (int i = 0; i + 1 < table.rank && fits; ++i) {
    const auto wanted = checked.batch_shape[static_cast<std::size_t>(checked.batch_rank - 1 - i)];
    fits = axis(table, 1 + i) == 1 || axis(table, 1 + i) == wanted;
  }
  if (!fits) {
    throw ValueError(message("block_table does not broadcast to the batch axes.",
                             {shown, show_query(p)},
                             "Give (batch, blocks): the pages of each batch element in order."));
  }
  checked.blocks_an_element = axis(table, 0);
  checked.block_table.assign(static_cast<std::size_t>(checked.batch * checked.blocks_an_element),
                             -1);
  for (std::int64_t element = 0; element < checked.batch; ++element) {
    const char* row = static_cast<const char*>(table.data) +
                      checked.batch_offset(element, [&](int i) { return stride(table, 1 + i); });
    const std::int64_t blocks =
        (checked.keys_of(element) + checked.page_size - 1) / checked.page_size;
    for (std::int64_t block = 0; block < blocks; ++block) {
      std::int64_t& page =
          checked
              .block_table[static_cast<std::size_t>(element * checked.blocks_an_element + block)];
      __builtin_memcpy(&page, row + block * stride(table, 0), sizeof page);
      if (page >= 0 && page < checked.page_count) continue;
      throw ValueError(
          message("block_table holds " + std::to_string(page) + " at block " +
                      std::to_string(block) + " of batch element " + std::to_string(element) +
                      (checked.page_count == 0
                           ? ", but there are no pages."
                           : ", outside 0 .. " + std::to_string(checked.page_count - 1) + "."),
                  {shown}, "Every block that key_lengths reaches into needs a page."));
    }
  }
}

}  // namespace regard
