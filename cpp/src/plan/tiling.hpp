// What every plan starts from: the kernels, and how they want rows and keys cut.
#pragma once

#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "validate/checked_problem.hpp"

namespace regard {

/// A unit of work: rows [first, first + count) of the heads of one set, of one batch element; or,
/// if they are decoded, all its rows and these groups of keys.
struct Unit {
  std::int64_t element, head_set, first, count;
  bool decodes = false;
  /// Where the states of the set's groups begin, if they are split; of a block of rows whose keys
  /// are in groups, its state.
  std::int64_t part = 0;
  std::int64_t group = 0, groups = 1;  ///< of keys, and how many there are for a block of rows
};

/// Depends on shapes and options alone, never on the number of threads, so that results do not.
struct Tiling {
  const CheckedProblem* problem;
  const kernels::KernelTable* table;
  const kernels::Kernels* kernel;
  kernels::TileSizes tiles;  ///< of the pass
  std::int64_t unit_heads;   ///< query heads whose rows are interleaved: a head set
  std::int64_t key_tile;     ///< none longer than the sequence, none across tiles of a block mask
  std::int64_t segment;      ///< rows that blocks are cut from; with a block mask, of its tiles
  std::int64_t segment_blocks;  ///< blocks a segment

  std::int64_t rows_of(std::int64_t element) const {
    return unit_heads * problem->queries_of(element);
  }
  std::int64_t head_sets() const { return unit_heads == 0 ? 0 : problem->query_heads / unit_heads; }
  /// Blocks that the rows of a head set are cut into, and one of them; count may be 0 or less.
  std::int64_t blocks_of(std::int64_t element) const;
  Unit block_at(std::int64_t element, std::int64_t head_set, std::int64_t block) const;
  /// Cuts blocks of so many panels.
  void cut(std::int64_t panels);
};

/// Heads that share keys and values share the pass over them, unless an option gives each of them
/// another set of keys to see, or another table.
Tiling tile_by_group(const CheckedProblem& problem);

/// Heads are kept apart, and blocks are as large as they can be: sums over rows must not depend on
/// the number of threads.
Tiling tile_by_head(const CheckedProblem& problem);

/// The same kernels with the tiles of the backward pass, which cuts its blocks itself.
Tiling tile_backward(const CheckedProblem& problem);

/// Rows of whole tiles of a block mask, about `wanted` of them: rows that lie in two rows of tiles
/// do the work of both.
std::int64_t rows_of_tiles(const CheckedProblem& problem, std::int64_t unit_heads,
                           std::int64_t wanted);

/// Multiply-adds of one product of tiles for all heads of a batch element.
double multiply_adds(const CheckedProblem& problem, std::int64_t element);

/// Threads for so much work in so many units: those that the caller allows, and 1 where waking
/// another costs more than it helps.
int threads_for(const CheckedProblem& problem, double multiply_adds, std::int64_t units);

inline std::int64_t ceil_div(std::int64_t x, std::int64_t y) { return (x + y - 1) / y; }

}  // namespace regard
