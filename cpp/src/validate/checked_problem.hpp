// A checked problem: axes matched, broadcasts turned into zero strides, defaults filled in.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/kernel_api.hpp"
#include "regard/attention.hpp"

namespace regard {

/// An operand with its batch axes aligned to the problem's; strides in bytes, 0 where broadcast.
struct Operand {
  char* data = nullptr;  ///< null: not given
  kernels::Storage storage = kernels::Storage::compute;
  std::array<std::int64_t, kMaxRank> batch_strides;
  std::int64_t head_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t column_stride = 0;
  std::int64_t page_stride = 0;  ///< of a paged operand
};

/// A block mask with the strides of its leading axes, in rows of tiles.
struct BlockMaskOperand {
  kernels::BlockMask tiles = {};
  std::array<std::int64_t, kMaxRank> batch_strides;
  std::int64_t head_stride = 0;
};

/// One number for all query heads, or one for each.
template <class T>
struct HeadNumbers {
  T one;
  std::vector<T> each;

  bool differ() const { return each.size() > 1; }
  T of(std::int64_t head) const { return differ() ? each[static_cast<std::size_t>(head)] : one; }
  T most() const { return differ() ? *std::max_element(each.begin(), each.end()) : one; }
};

/// Query i sees the keys [begin + i, end + i) as far as positions go.
struct Reach {
  std::int64_t begin, end;
};

/// A side of a window that has no limit.
inline constexpr std::int64_t kUnbounded = INT64_MAX;
/// No array is as long; sums of two stay in range.
inline constexpr std::int64_t kFarthest = INT64_MAX / 4;

/// a + b, or the end of what can matter.
inline std::int64_t far_sum(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) sum = b < 0 ? -kFarthest : kFarthest;
  return std::clamp(sum, -kFarthest, kFarthest);
}

/// Made by validate and not changed after. Holds pointers into the caller's arrays.
struct CheckedProblem {
  DType dtype;      ///< of the computation and the LSE
  DType out_dtype;  ///< of the query and the output
  int batch_rank = 0;
  std::array<std::int64_t, kMaxRank> batch_shape;
  std::int64_t batch = 1, query_heads = 0, kv_heads = 0, group = 0;
  std::int64_t queries = 0, keys = 0, head_dim = 0, value_dim = 0;  ///< of packed pieces, the most
  Operand query, key, value, mask, bias;
  Operand query_scale;                   ///< float64, a column
  std::vector<std::int64_t> bias_shape;  ///< as the caller gave it
  Operand key_scales, value_scales;      ///< of int8
  kernels::MaskKind mask_kind = kernels::MaskKind::none;
  BlockMaskOperand blocks;
  kernels::PositionBias position_bias = {};
  std::int64_t position_bias_stride = 0;  ///< bytes from head to head of its table
  ScoreFunction score_mod = {}, score_mod_gradient = {};

  /// One a batch element, or empty: all count; by causal and lengths.
  std::vector<std::int64_t> key_lengths, query_lengths, query_offsets;
  /// Where the queries and keys of each piece begin, or empty: batch elements are not packed.
  std::vector<std::int64_t> query_starts, key_starts;
  bool upper_left = false;
  /// Page numbers, blocks_an_element for each batch element; empty: keys are not paged.
  std::vector<std::int64_t> block_table;
  std::int64_t blocks_an_element = 0, page_count = 0, page_size = 0;

  HeadNumbers<std::int64_t> left, right;
  HeadNumbers<double> scale;
  /// One a query head, or empty: off. Slopes are one a batch element and head.
  std::vector<double> softcap, alibi, sinks;
  bool alibi_given = false, sinks_given = false;  ///< though there may be no head to have them
  bool cosine = false;
  kernels::Dropout dropout = {0, 0, 0, 0, 0, 0, 1};
  /// Numbers of the batch elements in a larger call, or empty: as they are here.
  std::vector<std::int64_t> dropout_elements;
  int threads = 1;

  /// Shapes of the outputs, as the caller sees them.
  int out_rank = 0;
  std::array<std::int64_t, kMaxRank> out_shape;
  bool query_is_vector = false;  ///< a 1-D query: the output has no length axis
  bool heads_axis = false;       ///< false when every input is 2-D or less: no heads axis

  /// Keys and queries that a batch element has room for.
  std::int64_t key_room(std::int64_t element) const {
    return key_starts.empty() ? keys : length_of(key_starts, element);
  }
  std::int64_t query_room(std::int64_t element) const {
    return query_starts.empty() ? queries : length_of(query_starts, element);
  }
  /// Those that count.
  std::int64_t keys_of(std::int64_t element) const {
    return key_lengths.empty() ? key_room(element) : key_lengths[static_cast<std::size_t>(element)];
  }
  std::int64_t queries_of(std::int64_t element) const {
    return query_lengths.empty() ? query_room(element)
                                 : query_lengths[static_cast<std::size_t>(element)];
  }
  std::int64_t offset_of(std::int64_t element) const {
    if (!query_offsets.empty()) return query_offsets[static_cast<std::size_t>(element)];
    return upper_left ? 0 : keys_of(element) - queries_of(element);
  }

  /// What queries of a head see by causal and window.
  Reach reach_of(std::int64_t element, std::int64_t head) const {
    return reach(element, left.of(head), right.of(head));
  }
  /// What they see in some head.
  Reach widest_reach(std::int64_t element) const {
    return reach(element, left.most(), right.most());
  }

  bool has_score_mod() const { return score_mod.rows != nullptr || score_mod.tile != nullptr; }

  /// Sum of strides over the batch axes of element number `element`, counted in C order.
  std::int64_t batch_offset(std::int64_t element,
                            const std::array<std::int64_t, kMaxRank>& strides) const {
    return batch_offset(
        element, [&](int i) { return strides[static_cast<std::size_t>(batch_rank - 1 - i)]; });
  }
  /// The same; stride_of(i) is that of the axis i places before the last batch axis.
  template <class StrideOf>
    requires std::is_invocable_v<StrideOf, int>
  std::int64_t batch_offset(std::int64_t element, const StrideOf& stride_of) const {
    std::int64_t offset = 0;
    for (int i = 0; i < batch_rank; ++i) {
      const std::int64_t extent = batch_shape[static_cast<std::size_t>(batch_rank - 1 - i)];
      offset += element % extent * stride_of(i);
      element /= extent;
    }
    return offset;
  }
  /// Numbers a head in the table of the position bias; 0 without one.
  std::int64_t position_bias_places() const {
    const auto& [table, reach, height, width] = position_bias;
    if (table == nullptr) return 0;
    return width > 0 ? (2 * height - 1) * (2 * width - 1) : 2 * reach + 1;
  }
  /// The block mask of the heads from `head` on.
  kernels::BlockMask blocks_of(std::int64_t element, std::int64_t head) const {
    kernels::BlockMask tiles = blocks.tiles;
    tiles.row_begin += batch_offset(element, blocks.batch_strides) + head * blocks.head_stride;
    return tiles;
  }

 private:
  Reach reach(std::int64_t element, std::int64_t to_left, std::int64_t to_right) const {
    const std::int64_t offset = offset_of(element);
    const bool bounded_left = to_left != kUnbounded, bounded_right = to_right != kUnbounded;
    const Reach reach = {bounded_left ? far_sum(offset, -to_left) : -kFarthest,
                         bounded_right ? far_sum(far_sum(offset, to_right), 1) : kFarthest};
    // A side below 0 may leave nothing between them: then all keys are before the first one.
    return reach.begin < reach.end ? reach : Reach{kFarthest, kFarthest};
  }
  static std::int64_t length_of(const std::vector<std::int64_t>& starts, std::int64_t element) {
    const auto at = static_cast<std::size_t>(element);
    return starts[at + 1] - starts[at];
  }
};

}  // namespace regard
