// What the dispatcher and a kernel say to each other: plain data, no code.
//
// A kernel is one instruction set and one compute type. This header is read by files compiled for
// an instruction set the running CPU may not have, so it must not contain anything the compiler
// could turn into a function: no constructors, no default member initialisers, no std types.
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::kernels {

/// A strided view of rows seen from one kv head; all strides in bytes, of any sign.
/// Element (g, i, c) is head g of the group, position i, column c.
struct Rows {
  char* data;
  std::ptrdiff_t head_stride;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t column_stride;
};

/// Reach of a position to one side that no array can exceed; sums of three stay in range.
inline constexpr std::int64_t kUnbounded = INT64_MAX / 4;

/// One unit of forward work: a block of query rows of one kv head against all its keys.
///
/// Under GQA the `group` query heads that share the kv head are interleaved: row r of the kv head
/// is query r / group of head r % group. Positions are then non-decreasing over the rows of a
/// block, which keeps the masked edge of a causal block as narrow as possible.
struct ForwardUnit {
  Rows query;  ///< (group, queries, head_dim)
  Rows key;    ///< (1, keys, head_dim)
  Rows value;  ///< (1, keys, value_dim)
  Rows out;    ///< (group, queries, value_dim)
  Rows lse;    ///< (group, queries, 1); data is null when not asked for
  Rows mask;   ///< (group, queries, keys) bytes, nonzero = attend; data is null without a mask
  Rows bias;   ///< (group, queries, keys) of the compute type; data is null without a bias
  std::int64_t group;
  std::int64_t first_row;
  std::int64_t row_count;  ///< 1 .. query_block
  std::int64_t key_count;  ///< keys of this batch element that count
  std::int64_t head_dim;
  std::int64_t value_dim;
  std::int64_t key_tile;
  /// Query i sits at p = i + offset and sees the keys p - left <= j <= p + right.
  std::int64_t offset;
  std::int64_t left;
  std::int64_t right;
  double scale;
  void* scratch;  ///< scratch_bytes(...) bytes, aligned to 64, contents arbitrary
};

struct ForwardKernel {
  void (*run)(const ForwardUnit& unit);
  std::size_t (*scratch_bytes)(std::int64_t head_dim, std::int64_t value_dim,
                               std::int64_t key_tile);
  std::int64_t lanes;        ///< queries in one vector: blocks start at multiples of this
  std::int64_t panel_rows;   ///< rows that share a pass over a tile
  std::int64_t query_block;  ///< most rows in a unit: several panels
  std::int64_t key_tile;     ///< keys a tile, for sequences longer than one tile
};

/// Everything one instruction set offers.
struct KernelTable {
  const char* isa;
  ForwardKernel forward_f32;
  ForwardKernel forward_f64;
  /// FMA ceiling: `steps` rounds of independent register-only FMAs; returns floating-point
  /// operations done.
  double (*fma_f32)(std::int64_t steps);
  double (*fma_f64)(std::int64_t steps);
};

extern const KernelTable generic_kernels;
extern const KernelTable avx2_kernels;
extern const KernelTable avx512_kernels;
extern const KernelTable neon_kernels;

}  // namespace regard::kernels
