// Looking at the weights: some rows of them, or what can be said of all of them.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "base/message.hpp"
#include "base/threads.hpp"
#include "plan/plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"

namespace regard {
namespace {

/// Rows [first, first + count) of the queries, written from row `place` of the output on.
struct Run {
  std::int64_t first, count, place;
};

/// Requested rows as runs of neighbours, each short enough for a unit.
std::vector<Run> runs_of(std::span<const std::int64_t> rows, std::int64_t most) {
  std::vector<Run> runs;
  for (std::size_t n = 0; n < rows.size(); ++n) {
    const bool extends = !runs.empty() && rows[n] == runs.back().first + runs.back().count &&
                         runs.back().count < most;
    if (extends) {
      ++runs.back().count;
    } else {
      runs.push_back({rows[n], 1, static_cast<std::int64_t>(n)});
    }
  }
  return runs;
}

kernels::Rows weight_rows(const Array& out, std::int64_t element, std::int64_t head,
                          std::int64_t row) {
  return {static_cast<char*>(out.data) + element * out.strides[0] + head * out.strides[1] +
              row * out.strides[2],
          0, out.strides[2], out.strides[3]};
}

/// Queries past the length of their batch element weigh nothing.
void clear_rows(const kernels::Rows& rows, std::int64_t count, std::int64_t keys,
                std::size_t item) {
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < keys; ++j) {
      __builtin_memset(rows.data + i * rows.row_stride + j * rows.column_stride, 0, item);
    }
  }
}

template <class T>
void clear_padding(const Geometry& g, const Summary& s, std::int64_t element, std::int64_t head) {
  const std::int64_t at = (element * g.query_heads + head) * g.queries;
  for (std::int64_t i = at + g.queries_of(element); i < at + g.queries; ++i) {
    static_cast<T*>(s.lse)[i] = -std::numeric_limits<T>::infinity();
    static_cast<T*>(s.entropy)[i] = static_cast<T*>(s.row_max)[i] = 0;
    for (std::int64_t k = 0; k < s.top_k; ++k) {
      static_cast<T*>(s.top_weights)[i * s.top_k + k] = 0;
      s.top_keys[i * s.top_k + k] = -1;
    }
  }
}

/// Enough units for many threads, and few enough for their sums over rows to be small.
constexpr std::int64_t kSummaryUnits = 32;

}  // namespace

void Plan::weights(std::span<const std::int64_t> rows, std::int64_t first_key,
                   std::int64_t last_key, const Array& out) const {
  Geometry g = *geometry_;
  plan_by_head(g);
  for (const std::int64_t row : rows) {
    if (row >= 0 && row < g.queries) continue;
    throw ValueError(message("rows holds " + std::to_string(row) + ", outside 0 .. " +
                                 std::to_string(g.queries - 1) + ".",
                             {}, "Give numbers of queries."));
  }
  if (first_key < 0 || last_key > g.keys) {
    throw ValueError(message("keys holds a number outside 0 .. " + std::to_string(g.keys - 1) + ".",
                             {}, "Give numbers of keys."));
  }
  const std::vector<Run> runs = runs_of(rows, g.kernel->tiles.query_block);
  const auto run_count = static_cast<std::int64_t>(runs.size());
  const std::size_t bytes = g.kernel->scratch_bytes({g.head_dim, g.value_dim, g.key_tile, 0});
  ThreadScratch scratch(bytes, g.threads);
  parallel_for(g.batch * g.query_heads * run_count, g.threads, [&](std::int64_t n, int thread) {
    const Run& run = runs[static_cast<std::size_t>(n % run_count)];
    const std::int64_t head = n / run_count % g.query_heads;
    const std::int64_t element = n / run_count / g.query_heads;
    const std::int64_t count =
        std::clamp<std::int64_t>(g.queries_of(element) - run.first, 0, run.count);
    clear_rows(weight_rows(out, element, head, run.place + count), run.count - count,
               last_key - first_key, size(g.dtype));
    if (count == 0) return;
    kernels::WeightsUnit unit;
    unit.scores = score_unit(g, {element, head, run.first, count});
    unit.out = weight_rows(out, element, head, run.place);
    unit.first_key = first_key;
    unit.last_key = last_key;
    unit.scratch = scratch.of(thread);
    g.kernel->weights(unit);
  });
}

void Plan::summary(const Summary& s) const {
  Geometry g = *geometry_;
  plan_by_head(g);
  const auto item = static_cast<std::int64_t>(size(g.dtype));
  const std::int64_t heads = g.batch * g.query_heads, cells = s.query_cells * s.key_cells;
  // Sums over rows are formed by chunks of blocks, in an order that the threads cannot change.
  const std::int64_t chunks =
      std::max<std::int64_t>(1, kSummaryUnits / std::max<std::int64_t>(heads, 1));
  const std::int64_t width = g.keys + cells;
  std::vector<double> sums(static_cast<std::size_t>(heads * chunks * width));
  const std::size_t bytes = g.kernel->scratch_bytes({g.head_dim, g.value_dim, g.key_tile, s.top_k});
  ThreadScratch scratch(bytes, g.threads);
  parallel_for(heads * chunks, g.threads, [&](std::int64_t n, int thread) {
    const std::int64_t at = n / chunks, chunk = n % chunks;
    const std::int64_t element = at / g.query_heads, head = at % g.query_heads;
    const std::int64_t first = at * g.queries;  // of the head's rows in the outputs
    for (std::int64_t block = chunk; block < blocks_of(g, element); block += chunks) {
      const Unit rows = block_at(g, element, head, block);
      if (rows.count <= 0) continue;
      kernels::SummaryUnit unit;
      unit.scores = score_unit(g, rows);
      unit.lse = static_cast<char*>(s.lse) + first * item;
      unit.entropy = static_cast<char*>(s.entropy) + first * item;
      unit.row_max = static_cast<char*>(s.row_max) + first * item;
      unit.top_k = s.top_k;
      unit.top_weights = static_cast<char*>(s.top_weights) + first * s.top_k * item;
      unit.top_keys = s.top_keys + first * s.top_k;
      unit.column_sums = sums.data() + n * width;
      unit.pooled = unit.column_sums + g.keys;
      unit.query_length = g.queries;
      unit.key_length = g.keys;
      unit.query_cells = s.query_cells;
      unit.key_cells = s.key_cells;
      unit.scratch = scratch.of(thread);
      g.kernel->summary(unit);
    }
  });
  for (std::int64_t at = 0; at < heads; ++at) {
    const std::int64_t element = at / g.query_heads, head = at % g.query_heads;
    g.dtype == DType::float32 ? clear_padding<float>(g, s, element, head)
                              : clear_padding<double>(g, s, element, head);
    const auto total = [&](std::int64_t place) {
      double sum = 0;
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
        sum += sums[static_cast<std::size_t>((at * chunks + chunk) * width + place)];
      }
      return sum;
    };
    for (std::int64_t j = 0; j < g.keys; ++j) s.column_sums[at * g.keys + j] = total(j);
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      const std::int64_t row = cell / s.key_cells;
      const std::int64_t rows =
          (row + 1) * g.queries / s.query_cells - row * g.queries / s.query_cells;
      s.pooled[at * cells + cell] = total(g.keys + cell) / static_cast<double>(rows);
    }
  }
}

}  // namespace regard
