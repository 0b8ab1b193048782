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
#include "regard/isa.hpp"

namespace regard {

/// Which keys a query may see by its position alone.
enum class Causal : std::uint8_t {
  none,
  lower_right,  ///< the last query sees the last key
  upper_left,   ///< the first query sees the first key
};

/// The inputs and options of one attention call. Nothing is owned.
struct Problem {
  Array query;  ///< (..., query heads, queries, head_dim); also (queries, head_dim) or (head_dim,)
  Array key;    ///< (..., kv heads, keys, head_dim)
  Array value;  ///< (..., kv heads, keys, value_dim)
  std::optional<Array> mask;  ///< bool, true = attend; broadcasts to (..., heads, queries, keys)
  std::optional<Array> bias;  ///< added to the scores; broadcasts the same way
  std::optional<Array> key_lengths;  ///< int64; broadcasts to the batch axes
  Causal causal = Causal::none;
  std::optional<std::int64_t> window_left;   ///< keys before the query's own position
  std::optional<std::int64_t> window_right;  ///< keys after it
  std::optional<double> scale;               ///< default 1 / sqrt(head_dim)
  std::optional<std::int64_t> threads;       ///< default: what OpenMP would use
};

struct Geometry;  // checked shapes and strides; private to the library

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
  DType dtype() const;                              ///< of the output and the LSE

  /// Computes into `out`, and the logarithm of the softmax denominators into `lse` if given.
  /// @throws ValueError, TypeError when an output has another shape or type, or overlaps itself.
  void run(const Array& out, const Array* lse = nullptr) const;

  std::string_view isa() const;
  std::int64_t query_block() const;   ///< most query rows in a unit of work
  std::int64_t key_tile() const;      ///< keys a tile
  std::int64_t units() const;         ///< units of work
  int threads() const;                ///< threads that share them
  std::size_t scratch_bytes() const;  ///< scratch of one thread
  std::int64_t batch() const;
  std::int64_t query_heads() const;
  std::int64_t kv_heads() const;
  std::int64_t queries() const;
  std::int64_t keys() const;
  std::int64_t head_dim() const;
  std::int64_t value_dim() const;
  double scale() const;
  double visible_share() const;  ///< share of the scores that causal, window and lengths leave
  bool key_in_place() const;     ///< keys are read where they lie, not copied tile by tile
  bool value_in_place() const;

 private:
  std::unique_ptr<Geometry> geometry_;
};

/// Plan(problem).run(out, lse).
void attention(const Problem& problem, const Array& out, const Array* lse = nullptr);

/// The library's version, e.g. "0.1.0".
const char* version();

/// What the library was built with; the OpenMP strings are empty when it was built without.
const char* compiler();
std::string openmp_runtime();  ///< e.g. "libgomp"
std::string openmp_version();  ///< date of the specification, e.g. "201511"

/// Threads that a call uses when it is not told.
int default_thread_count();

}  // namespace regard
