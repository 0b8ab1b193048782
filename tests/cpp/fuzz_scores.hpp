// What concerns scores and weights, made of whatever bytes come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "fuzz_arrays.hpp"
#include "regard/attention.hpp"

namespace regard::fuzz {

/// One number, or one for each head.
template <class T, class Draw>
PerHead<T> per_head(Bytes& bytes, std::int64_t heads, const Draw& draw) {
  if (!bytes.rarely(2)) return draw();
  std::vector<T> numbers(static_cast<std::size_t>(heads + (bytes.rarely(32) ? 1 : 0)));
  for (T& number : numbers) number = draw();
  return PerHead<T>(std::move(numbers));
}

inline std::optional<PerHead<std::int64_t>> maybe_window(Bytes& bytes, std::int64_t heads) {
  if (!bytes.rarely(3)) return std::nullopt;
  constexpr std::int64_t ends[] = {0, -1, INT64_MAX, INT64_MIN};
  return per_head<std::int64_t>(
      bytes, heads, [&] { return bytes.rarely(8) ? ends[bytes.below(4)] : bytes.below(200) - 50; });
}

inline std::optional<std::int64_t> maybe(Bytes& bytes, int times, std::int64_t limit) {
  if (!bytes.rarely(times)) return std::nullopt;
  return bytes.rarely(16) ? bytes.below(3) - 2 : bytes.below(limit);
}

template <class T>
void halve(T* scores, std::int64_t count, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
           void*) {
  for (std::int64_t n = 0; n < count; ++n) scores[n] /= 2;
}

inline void leave(void*, const ScoreTile&) {}

/// A function of scores; `twice`: which says two ways to call it.
inline ScoreFunction halves(DType dtype, bool twice) {
  const auto address = [](auto* function) { return reinterpret_cast<void (*)()>(function); };
  return {dtype == DType::float64 ? address(&halve<double>) : address(&halve<float>),
          twice ? &leave : nullptr, nullptr};
}

/// What concerns scores and weights: numbers, tables, dropout.
inline void choose_scores(Bytes& bytes, Problem& problem, std::int64_t heads, std::int64_t height,
                          std::int64_t width, std::vector<Owned>& inputs) {
  const auto number = [&] { return static_cast<double>(bytes.below(9) - 4) / 2; };
  if (bytes.rarely(3)) problem.scale = per_head<double>(bytes, heads, number);
  if (bytes.rarely(64)) problem.scale = 1e308 * 10;
  if (bytes.rarely(4)) {
    problem.softcap = per_head<double>(bytes, heads, [&] {
      return bytes.rarely(64) ? -1.0 : static_cast<double>(bytes.below(4));
    });
  }
  if (bytes.rarely(4)) problem.sinks = per_head<double>(bytes, heads, number);
  if (bytes.rarely(4)) problem.score_mod = halves(problem.query.dtype, bytes.rarely(64));
  problem.cosine = bytes.rarely(4);
  if (bytes.rarely(4)) {
    problem.dropout = static_cast<double>(bytes.below(11)) / 10;
    if (!bytes.rarely(16)) problem.seed = bytes.next() * 0x9E3779B97F4A7C15ull;
  }
  if (bytes.rarely(4)) {
    const bool grid = width > 0 && !bytes.rarely(16);
    const std::int64_t places =
        (grid ? (2 * height - 1) * (2 * width - 1) : 1 + 2 * bytes.below(140)) +
        (bytes.rarely(32) ? 1 : 0);
    const std::int64_t rows = bytes.rarely(2) ? 1 : heads + (bytes.rarely(32) ? 1 : 0);
    const bool wide = problem.query.dtype == DType::float64;
    inputs.push_back(dense_array(bytes, wide ? DType::float64 : DType::float32, {rows, places}));
    problem.position_bias = {inputs.back().array, grid ? height : 0, grid ? width : 0};
    if (bytes.rarely(32)) problem.position_bias->height = bytes.below(5) - 2;
  }
}

}  // namespace regard::fuzz
