// Functions of the caller's that scores go through. Plain data: kernels read this as well.
#pragma once

#include <cstdint>

namespace regard {

/// Scores of rows [row, row + rows) of a kv head against the keys [key, key + count), in natural
/// units and of the type that is computed in: that of row r and key j is number
/// (r - row) * ld + j - key.
struct ScoreTile {
  void* scores;
  void* slopes;  ///< of a gradient: derivatives, laid out likewise; else null
  std::int64_t ld;
  std::int64_t row, rows;
  std::int64_t group;  ///< row r is query r / group of head first_head + r % group
  std::int64_t first_head;
  std::int64_t key, count;
  std::int64_t element;  ///< batch element, counted in C order
};

/// A function that scores go through one by one, in place, or the gradient of one, which multiplies
/// derivatives by the slope at each score. It may be called from several threads at once.
///
/// With an address it is called for a query and keys that lie next to each other, as
///   void(T* scores, int64_t count, int64_t query, int64_t first_key, int64_t head, int64_t batch,
///        void* user)
/// and a gradient as
///   void(T* dscores, const T* scores, int64_t count, ...)
/// with T the type that is computed in (Plan::compute_dtype).
struct ScoreFunction {
  void (*rows)();                                   ///< of one of these types, or null:
  void (*tile)(void* user, const ScoreTile& tile);  ///< called for a whole tile
  void* user;
};

}  // namespace regard
