// A checked problem: axes matched, broadcasts turned into zero strides, defaults filled in.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/kernel_api.hpp"
#include "regard/attention.hpp"

namespace regard {

/// An operand with its batch axes aligned to the problem's; strides in bytes, 0 where broadcast.
struct Operand {
  char* data = nullptr;  ///< null: not given
  std::array<std::int64_t, kMaxRank> batch_strides;
  std::int64_t head_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t column_stride = 0;
};

struct Geometry {
  DType dtype;
  int batch_rank = 0;
  std::array<std::int64_t, kMaxRank> batch_shape;
  std::int64_t batch = 1, query_heads = 0, kv_heads = 0, group = 0;
  std::int64_t queries = 0, keys = 0, head_dim = 0, value_dim = 0;
  Operand query, key, value, mask, bias;
  std::vector<std::int64_t> key_lengths;  ///< one a batch element, or empty: all keys count
  bool upper_left = false;
  std::int64_t left = kernels::kUnbounded, right = kernels::kUnbounded;
  double scale = 0;
  int threads = 1;

  /// Shapes of the outputs, as the caller sees them.
  int out_rank = 0;
  std::array<std::int64_t, kMaxRank> out_shape;
  bool query_is_vector = false;  ///< a 1-D query: the output has no length axis
  bool heads_axis = false;       ///< false when every input is 2-D or less: no heads axis

  /// Filled in by plan.
  const kernels::KernelTable* table = nullptr;
  const kernels::ForwardKernel* kernel = nullptr;
  std::int64_t key_tile = 0, blocks = 0, units = 0;
  std::size_t scratch_bytes = 0;

  std::int64_t keys_of(std::int64_t element) const {
    return key_lengths.empty() ? keys : key_lengths[static_cast<std::size_t>(element)];
  }
  std::int64_t offset_of(std::int64_t element) const {
    return upper_left ? 0 : keys_of(element) - queries;
  }
};

}  // namespace regard
