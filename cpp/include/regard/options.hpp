// Options of attention that are more than a number or an array.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "regard/array.hpp"

namespace regard {

/// Which keys a query may see by its position alone.
enum class Causal : std::uint8_t {
  none,
  lower_right,  ///< the last query sees the last key
  upper_left,   ///< the first query sees the first key
};

/// One number for all query heads, or one for each.
template <class T>
class PerHead {
 public:
  PerHead(T one) : values_{one} {}  // NOLINT: a number is meant to be given as it is
  explicit PerHead(std::vector<T> of_each) : values_(std::move(of_each)), one_(false) {}
  bool is_one() const { return one_; }
  std::span<const T> values() const { return values_; }
  T of(std::int64_t head) const { return values_[one_ ? 0 : static_cast<std::size_t>(head)]; }

 private:
  std::vector<T> values_;
  bool one_ = true;
};

/// A mask in square tiles, of which those that hide everything are not stored (CSR).
struct BlockMask {
  std::vector<std::int64_t> leading;  ///< axes before (queries, keys): batch and heads, broadcast
  std::int64_t queries = 0, keys = 0;
  std::int64_t block_size = 0;  ///< a multiple of 16
  /// Row b of tiles of leading index n is entries row_begin[n * block rows + b] up to the next.
  std::span<const std::int64_t> row_begin;
  std::span<const std::int32_t> columns;  ///< of tiles, ascending in each row
  std::span<const std::int32_t> partial;  ///< -1: everything is seen, else number of the tile
  std::span<const std::uint8_t> tiles;    ///< bits, block_size rows of block_size / 8 bytes each
};

/// A bias by relative position: table[h, clamp(j - p, -reach, reach) + reach] for a table (heads,
/// 2 reach + 1); or, on an image grid, table[h, (yi - yj + height - 1) (2 width - 1) + (xi - xj +
/// width - 1)]. One head in the table serves all.
struct PositionBias {
  Array table;                         ///< C-contiguous, of the type that is computed in
  std::int64_t height = 0, width = 0;  ///< of the grid; 0: positions count along the sequence
};

/// How far the scores have come, in the order of docs/semantics.md.
enum class Stage : std::uint8_t {
  scaled,      ///< scale Q K'
  softcapped,  ///< the softcap done
  masked,      ///< biases added, -inf where a key is hidden: what the softmax is given
  weights,     ///< the softmax done
};

/// Where a summary of the weights is written; C-contiguous arrays with the axes (batch, query
/// heads, ...). Those in braces have the type that is computed in (Plan::compute_dtype).
struct Summary {
  void* lse;               ///< {(queries)}
  void* entropy;           ///< {(queries)}, in nats
  void* row_max;           ///< {(queries)}
  void* top_weights;       ///< {(queries, top_k)}, largest first, equal ones by key
  std::int64_t* top_keys;  ///< (queries, top_k); -1 where a query sees fewer
  double* column_sums;     ///< (keys): the attention each key receives
  double* pooled;          ///< (query_cells, key_cells): sums over keys, means over queries
  std::int64_t top_k, query_cells, key_cells;
};

}  // namespace regard
