#include "plan/decode_plan.hpp"

#include <algorithm>

namespace regard {
namespace {

/// Most groups of keys a head: states of that many are kept until they are merged. Heads enough to
/// give every thread kHeadsPerThread of them are not split.
constexpr std::int64_t kMostGroups = 32, kHeadsPerThread = 8;

/// Decoding waits for memory: a key or value costs as much as this many multiply-adds.
constexpr double kDecodeWork = 10;

}  // namespace

bool decodes(const Tiling& tiling, std::int64_t element) {
  const std::int64_t rows = tiling.rows_of(element);
  return rows > 0 && rows <= kernels::kDecodeRows;
}

KeyRange reachable_keys(const CheckedProblem& problem, std::int64_t element) {
  const std::int64_t keys = problem.keys_of(element), last = problem.queries_of(element) - 1;
  const Reach reach = problem.widest_reach(element);
  const std::int64_t begin = std::clamp<std::int64_t>(reach.begin, 0, keys);
  return {begin, std::clamp<std::int64_t>(last + reach.end, begin, keys)};
}

KeyGroups key_groups(const CheckedProblem& problem, std::int64_t element) {
  const auto [begin, end] = reachable_keys(problem, element);
  const std::int64_t first = begin / kernels::kDecodeChunk * kernels::kDecodeChunk;
  const std::int64_t chunks = ceil_div(end - first, kernels::kDecodeChunk);
  const std::int64_t each = std::max<std::int64_t>(ceil_div(chunks, kMostGroups), 1);
  return {first, each * kernels::kDecodeChunk, std::max<std::int64_t>(ceil_div(chunks, each), 1)};
}

double decode_work(const Tiling& tiling, std::int64_t element) {
  const CheckedProblem& problem = *tiling.problem;
  const KeyGroups groups = key_groups(problem, element);
  return kDecodeWork * static_cast<double>(tiling.head_sets() * groups.keys * groups.count) *
         static_cast<double>(problem.head_dim + problem.value_dim);
}

bool splits_groups(const Tiling& tiling, int threads) {
  return threads > 1 && tiling.problem->batch * tiling.head_sets() < kHeadsPerThread * threads;
}

}  // namespace regard
