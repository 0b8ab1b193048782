// Exact attention over strided arrays: out = softmax(scale Q K' + bias, masked) V.
//
//   regard::Problem problem;
//   problem.query = regard::contiguous(q, {heads, queries, head_dim});
//   ...
//   regard::attention(problem, out);
//
// Arrays are (..., heads, length, dim); leading axes broadcast. What each option means is written
// down in docs/semantics.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "regard/array.hpp"
#include "regard/error.hpp"
#include "regard/explain.hpp"
#include "regard/gradients.hpp"
#include "regard/isa.hpp"
#include "regard/options.hpp"
#include "regard/score_function.hpp"
#include "regard/threads.hpp"

namespace regard {

/// The inputs and options of one attention call. Nothing but numbers a head is owned.
///
/// Query, key and value are float64, or each of them is float32, float16 or bfloat16, and keys and
/// values may be int8 with scales. All but float64 is computed in float32.
struct Problem {
  Array query;  ///< (..., query heads, queries, head_dim); also (queries, head_dim) or (head_dim,)
  Array key;    ///< (..., kv heads, keys, head_dim)
  Array value;  ///< (..., kv heads, keys, value_dim)
  std::optional<Array> key_scales, value_scales;  ///< float32 (..., kv heads, keys), of int8

  /// Keys and values in pages, (pages, page_size, kv heads, dim) and their scales (pages,
  /// page_size, kv heads): key j of a batch element is row j % page_size of page
  /// block_table[..., j / page_size]. int64 (batch..., blocks); needs key_lengths.
  std::optional<Array> block_table;

  std::optional<Array> mask;  ///< bool, true = attend; broadcasts to (..., heads, queries, keys)
  /// Keys of a mask that holds bits, uint8 (..., ceil(keys / 8)): key j is bit j % 8 of byte j / 8.
  std::optional<std::int64_t> packed_mask_keys;
  std::optional<BlockMask> block_mask;  ///< in place of `mask`
  Causal causal = Causal::none;
  /// A query at p sees the keys p - left <= j <= p + right; of any sign, INT64_MAX is no limit.
  std::optional<PerHead<std::int64_t>> window_left, window_right;
  std::optional<Array> key_lengths;    ///< int64; broadcasts to the batch axes, as the next two do
  std::optional<Array> query_lengths;  ///< later queries give 0
  std::optional<Array> query_offset;   ///< query i is at i + offset; default by causal and lengths

  std::optional<PerHead<double>> scale;  ///< default 1 / sqrt(head_dim), 1 for cosines
  std::optional<Array> query_scale;  ///< float64; times scale; broadcasts to (..., heads, queries)
  bool cosine = false;               ///< queries and keys are brought to length 1
  std::optional<PerHead<double>> softcap;  ///< c tanh(score / c); 0 is off
  std::optional<Array> alibi_slopes;       ///< float64; broadcasts to (..., heads)
  std::optional<ScoreFunction> score_mod;  ///< after ALiBi, before biases
  std::optional<ScoreFunction> score_mod_gradient;
  std::optional<PositionBias> position_bias;
  std::optional<Array> bias;             ///< added to the scores; broadcasts like the mask
  std::optional<PerHead<double>> sinks;  ///< one more logit a row, without a value
  double dropout = 0;                    ///< share of the weights left out, in [0, 1)
  std::optional<std::uint64_t> seed;     ///< of the dropout
  /// Where a part of a larger call lies in it, so that dropout is that of the whole: numbers of its
  /// batch elements, int64, which broadcast to the batch axes; first head, query and key.
  std::optional<Array> dropout_elements;
  std::int64_t dropout_head = 0, dropout_query = 0, dropout_key = 0;

  /// Packed pieces of different lengths: piece n has the queries query_starts[n] ..
  /// query_starts[n + 1], and keys likewise; int64, from 0 to the length of the array. The arrays
  /// then have no batch axes: the pieces are the batch.
  std::optional<Array> query_starts, key_starts;

  std::optional<std::int64_t> threads;  ///< default: what OpenMP would use
};

struct PlannedCall;  // private to the library

/// A checked problem and the way it will be run. Holds pointers into the problem's arrays.
class Plan {
 public:
  /// @throws ValueError, TypeError before anything but the lengths is read.
  explicit Plan(const Problem& problem);
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;
  ~Plan();

  std::span<const std::int64_t> out_shape() const;  ///< (..., query heads, queries, value_dim)
  std::span<const std::int64_t> lse_shape() const;  ///< (..., query heads, queries)
  DType dtype() const;                              ///< of the output: the query's
  DType compute_dtype() const;                      ///< of the LSE: float32 or float64

  /// Computes into `out`, and the logarithm of the softmax denominators into `lse` if given.
  /// @throws ValueError, TypeError when an output has another shape or type, or overlaps itself.
  void run(const Array& out, const Array* lse = nullptr) const;

  /// Refuses outputs that `run` would refuse, and writes nothing.
  void check(const Array& out, const Array* lse = nullptr) const;

  /// Writes weights: those of query rows[n] to out[..., n, :], for the keys [first_key, last_key).
  /// `out` is (batch, query heads, rows, keys). The problem's values and dropout take no part.
  /// An earlier stage writes scores; those of rows past their length are -inf at each of them.
  void weights(std::span<const std::int64_t> rows, std::int64_t first_key, std::int64_t last_key,
               const Array& out, Stage stage = Stage::weights) const;

  /// What can be said of the weights without keeping them.
  void summary(const Summary& summary) const;

  /// Computes the gradients that are wanted. Bitwise the same for any number of threads.
  /// @throws ValueError, TypeError when an array has another shape or type.
  void backward(const Saved& saved, const Gradients& gradients) const;

  /// The output as `run` computes it, and its derivative along a direction.
  void tangent(const Tangents& moves, const TangentOutputs& outputs) const;

  /// How a pass is run; `top_k` is that of a summary.
  Explanation explain(Pass pass = Pass::forward, std::int64_t top_k = 8) const;

  /// Of the forward pass; described in Explanation.
  std::string_view isa() const { return explain().isa; }
  std::string algorithm() const { return explain().algorithm; }
  DType product_dtype() const { return explain().product_dtype; }
  std::int64_t key_groups() const { return explain().key_groups; }
  std::int64_t query_block() const { return explain().query_block; }
  std::int64_t key_tile() const { return explain().key_tile; }
  std::int64_t heads_a_unit() const { return explain().heads_a_unit; }
  std::int64_t units() const { return explain().units; }
  int threads() const { return explain().threads; }
  std::size_t scratch_bytes() const { return explain().scratch_bytes; }
  bool key_in_place() const { return explain().key_in_place; }
  bool value_in_place() const { return explain().value_in_place; }

  /// The problem, after broadcasting.
  DType query_dtype() const, key_dtype() const, value_dtype() const;  ///< as they are kept
  std::int64_t batch() const;
  std::int64_t query_heads() const;
  std::int64_t kv_heads() const;
  std::int64_t queries() const;
  std::int64_t keys() const;
  std::int64_t head_dim() const;
  std::int64_t value_dim() const;
  double scale() const;          ///< of the first head
  bool has_score_mod() const;    ///< whether scores go through a function of the caller's
  double visible_share() const;  ///< share of the scores that positions and block masks leave
  std::string options() const;   ///< what is done to scores and weights, in order, e.g. "softcap"

 private:
  std::unique_ptr<const PlannedCall> call_;
};

/// Plan(problem).run(out, lse).
void attention(const Problem& problem, const Array& out, const Array* lse = nullptr);

/// The library's version, e.g. "0.1.0".
const char* version();

/// What the library was built with; the OpenMP strings are empty when it was built without.
const char* compiler();
std::string openmp_runtime();  ///< e.g. "libgomp"
std::string openmp_version();  ///< date of the specification, e.g. "201511"

}  // namespace regard
