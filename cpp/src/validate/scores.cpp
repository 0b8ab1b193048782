// Masks and biases: arrays and tables that scores meet.
#include <algorithm>
#include <string>

#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

/// Extent of the problem's axis `from_end` places before its heads; 0 is the heads.
std::int64_t leading_extent(const CheckedProblem& checked, int from_end) {
  if (from_end == 0) return checked.query_heads;
  const int at = checked.batch_rank - from_end;
  return at < 0 ? 1 : checked.batch_shape[static_cast<std::size_t>(at)];
}

[[noreturn]] void refuse_block_mask(const std::string& problem) {
  throw ValueError(message("mask is a BlockMask that " + problem + ".", {},
                           "Make it with BlockMask.from_dense or from_function, and leave its "
                           "arrays as they are."));
}

/// What a kernel relies on when it follows the tiles.
void check_tiles(const BlockMask& mask, std::int64_t rows_of_tiles, std::int64_t columns) {
  const auto entries = static_cast<std::int64_t>(mask.columns.size());
  if (static_cast<std::int64_t>(mask.row_begin.size()) != rows_of_tiles + 1 ||
      mask.row_begin.front() != 0 || mask.row_begin.back() != entries ||
      static_cast<std::int64_t>(mask.partial.size()) != entries) {
    refuse_block_mask("does not list its tiles row by row");
  }
  const std::int64_t tile_bytes = mask.block_size * (mask.block_size / 8);
  const std::int64_t tiles = static_cast<std::int64_t>(mask.tiles.size()) / tile_bytes;
  for (std::size_t row = 0; row + 1 < mask.row_begin.size(); ++row) {
    const std::int64_t begin = mask.row_begin[row], end = mask.row_begin[row + 1];
    if (begin > end || begin < 0 || end > entries) refuse_block_mask("has rows of negative length");
    for (std::int64_t at = begin; at < end; ++at) {
      const auto entry = static_cast<std::size_t>(at);
      const bool ascends = at == begin || mask.columns[entry] > mask.columns[entry - 1];
      if (mask.columns[entry] < 0 || mask.columns[entry] >= columns || !ascends) {
        refuse_block_mask("has tiles out of order or out of range");
      }
      if (mask.partial[entry] < -1 || mask.partial[entry] >= tiles) {
        refuse_block_mask("names a partial tile it does not hold");
      }
    }
  }
}

void check_block_mask(const BlockMask& mask, const Problem& p, CheckedProblem& checked) {
  if (mask.queries != checked.queries || mask.keys != checked.keys ||
      !leading_axes_fit(mask.leading, checked)) {
    std::vector<std::int64_t> shape = mask.leading;
    shape.insert(shape.end(), {mask.queries, mask.keys});
    throw ValueError(message("mask is a BlockMask of shape " + tuple(shape) +
                                 " and does not broadcast to " + score_shape(checked) + ".",
                             {show_query(p), show_key(p)},
                             "Its queries and keys must be those of the call; axes before them "
                             "broadcast to the batch and the heads of query."));
  }
  if (mask.block_size < 16 || mask.block_size % 16 != 0) {
    refuse_block_mask("has blocks of " + std::to_string(mask.block_size) +
                      ", not a multiple of 16");
  }
  const auto blocks = [&](std::int64_t length) {
    return (length + mask.block_size - 1) / mask.block_size;
  };
  std::int64_t stride = blocks(mask.queries);
  std::int64_t leading = 1;
  for (const std::int64_t extent : mask.leading) leading *= extent;
  check_tiles(mask, leading * stride, blocks(mask.keys));
  checked.mask_kind = kernels::MaskKind::blocks;
  checked.blocks.tiles = {mask.row_begin.data(), mask.columns.data(), mask.partial.data(),
                          mask.tiles.data(), mask.block_size};
  checked.blocks.batch_strides.fill(0);
  const int rank = static_cast<int>(mask.leading.size());
  for (int i = 0; i < rank; ++i) {
    const std::int64_t extent = mask.leading[static_cast<std::size_t>(rank - 1 - i)];
    const std::int64_t step = extent == 1 ? 0 : stride;
    if (i == 0) {
      checked.blocks.head_stride = step;
    } else if (i <= checked.batch_rank) {
      checked.blocks.batch_strides[static_cast<std::size_t>(checked.batch_rank - i)] = step;
    }
    stride *= extent;
  }
}

}  // namespace

bool leading_axes_fit(std::span<const std::int64_t> shape, const CheckedProblem& checked) {
  const int rank = static_cast<int>(shape.size());
  bool fits = rank <= checked.batch_rank + 1;
  for (int i = 0; i < rank && fits; ++i) {
    const std::int64_t extent = shape[static_cast<std::size_t>(rank - 1 - i)];
    fits = extent == 1 || extent == leading_extent(checked, i);
  }
  return fits;
}

std::string score_shape(const CheckedProblem& checked) {
  std::vector<std::int64_t> target(checked.batch_shape.begin(),
                                   checked.batch_shape.begin() + checked.batch_rank);
  target.insert(target.end(), {checked.query_heads, checked.queries, checked.keys});
  return tuple(target);
}

Operand broadcast_scores(const char* argument, const Array& array, const Problem& p,
                         const CheckedProblem& checked) {
  const auto one_or = [&](int from_end, std::int64_t wanted) {
    return axis(array, from_end) == 1 || axis(array, from_end) == wanted;
  };
  const auto leading = array.dims().first(static_cast<std::size_t>(std::max(array.rank - 2, 0)));
  if (!one_or(0, checked.keys) || !one_or(1, checked.queries) ||
      !leading_axes_fit(leading, checked)) {
    const bool of_tokens = array.rank == 2 && array.dtype == DType::boolean &&
                           axis(array, 0) == checked.keys && axis(array, 1) == checked.batch;
    throw ValueError(
        message(std::string(argument) + " does not broadcast to " + score_shape(checked) + ".",
                {{argument, array, kScoreAxes}, show_query(p), show_key(p)},
                std::string("Its axes, from the last: keys, queries, heads of query, batch; each "
                            "equal or 1.") +
                    (of_tokens ? " A mask of (batch, keys) goes in key_mask=." : "")));
  }
  return align(array, checked, 2);
}

void check_masks(const Problem& p, CheckedProblem& checked) {
  if (p.block_mask) check_block_mask(*p.block_mask, p, checked);
  if (!p.mask) return;
  const Shown shown = {"mask", *p.mask, kScoreAxes};
  if (p.block_mask) {
    throw ValueError(message("mask is given twice.", {shown}, "Combine the two masks with &."));
  }
  if (p.packed_mask_keys) {
    const std::int64_t bytes = (checked.keys + 7) / 8;
    if (p.mask->dtype != DType::uint8) {
      throw TypeError(
          message(std::string("mask has packed bits of dtype ") + name(p.mask->dtype) + ".",
                  {shown}, "Use uint8, as np.packbits makes them."));
    }
    // Bits cannot be broadcast along the keys.
    if (*p.packed_mask_keys != checked.keys || p.mask->rank < 1 || axis(*p.mask, 0) != bytes) {
      throw ValueError(
          message("mask has packed bits for " + std::to_string(*p.packed_mask_keys) + " keys.",
                  {show_query(p), show_key(p)}, "Give one bit for each key."));
    }
    Array by_key = *p.mask;  // messages count keys, not bytes
    by_key.shape[static_cast<std::size_t>(by_key.rank - 1)] = checked.keys;
    checked.mask = broadcast_scores("mask", by_key, p, checked);
    const bool holds_bits =
        std::ranges::count(p.mask->dims(), 0) == 0;  // else strides are anything
    if (holds_bits && axis(*p.mask, 0) > 1 && stride(*p.mask, 0) != 1) {
      throw ValueError(message("mask has packed bits that do not lie side by side.", {shown},
                               "Its last axis must be contiguous: np.ascontiguousarray(bits)."));
    }
    checked.mask_kind = kernels::MaskKind::bits;
    return;
  }
  if (p.mask->dtype != DType::boolean) {
    throw TypeError(message(std::string("mask has dtype ") + name(p.mask->dtype) + ".", {shown},
                            "Use bool, True = attend; numbers to add to the scores are bias=."));
  }
  checked.mask = broadcast_scores("mask", *p.mask, p, checked);
  checked.mask_kind = kernels::MaskKind::bytes;
}

void check_biases(const Problem& p, CheckedProblem& checked) {
  if (p.bias) {
    if (p.bias->dtype != checked.dtype &&
        (checked.dtype != DType::float32 || !computed_in_float32(p.bias->dtype))) {
      throw TypeError(message(std::string("bias has dtype ") + name(p.bias->dtype) +
                                  " but query has " + name(p.query.dtype) + ".",
                              {{"bias", *p.bias, kScoreAxes}, show_query(p)},
                              std::string("Convert it with bias.astype(np.") + name(checked.dtype) +
                                  "); a bool array goes in mask=."));
    }
    checked.bias = broadcast_scores("bias", *p.bias, p, checked);
    const auto shape = p.bias->dims();
    checked.bias_shape.assign(shape.begin(), shape.end());
    checked.bias.storage = storage_of(p.bias->dtype);
  }
  if (!p.position_bias) return;
  const PositionBias& bias = *p.position_bias;
  const Array& table = bias.table;
  const std::int64_t heads = axis(table, 1), places = axis(table, 0);
  const bool grid = bias.width > 0;
  const bool whole = grid
                         ? bias.height > 0 && places == (2 * bias.height - 1) * (2 * bias.width - 1)
                         : places % 2 == 1;
  if (table.dtype != checked.dtype || table.rank != 2 || !whole ||
      (heads > 1 && stride(table, 1) != places * static_cast<std::int64_t>(size(checked.dtype))) ||
      (places > 1 && stride(table, 0) != static_cast<std::int64_t>(size(checked.dtype)))) {
    throw ValueError(
        message("position_bias has a table of shape " + tuple(table.dims()) + ".", {},
                "It must be C-contiguous, of the type that is computed in, one row a head."));
  }
  if (heads != 1 && heads != checked.query_heads) {
    throw ValueError(message("position_bias is for " + std::to_string(heads) + " heads.",
                             {show_query(p)}, "Give one column a head of query, or one for all."));
  }
  bool fits = !grid || (checked.queries == bias.height * bias.width &&
                        checked.keys == checked.queries && checked.query_starts.empty());
  for (std::int64_t element = 0; grid && element < checked.batch; ++element) {
    fits &= checked.offset_of(element) == 0;
  }
  if (!fits) {
    throw ValueError(message("position_bias is for a grid of " + std::to_string(bias.height) +
                                 " x " + std::to_string(bias.width) + ".",
                             {show_query(p), show_key(p)},
                             "Queries and keys must be its pixels, row by row, without offsets."));
  }
  checked.position_bias = {table.data, places / 2, bias.height, bias.width};
  checked.position_bias_stride = heads == 1 ? 0 : stride(table, 1);
}

}  // namespace regard
