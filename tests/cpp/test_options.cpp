// Options against plain loops, and forms of one problem against each other.
#include <doctest/doctest.h>

#include <functional>
#include <numeric>

#include "problems.hpp"

namespace regard::test {
namespace {

std::vector<double> normals(Random& random, std::int64_t count) {
  std::normal_distribution<double> normal;
  std::vector<double> numbers(static_cast<std::size_t>(count));
  std::ranges::generate(numbers, [&] { return normal(random); });
  return numbers;
}

double at(const std::vector<double>& x, std::int64_t index) {
  return x[static_cast<std::size_t>(index)];
}

/// Query, key and value of a problem in float64, (heads, length, dim) each, and its output.
struct Small {
  std::int64_t heads, queries, keys, dim;
  std::vector<double> q, k, v, out, lse;
  Problem problem;

  Small(Random& random, std::int64_t h, std::int64_t n, std::int64_t m, std::int64_t d)
      : heads(h), queries(n), keys(m), dim(d) {
    q = normals(random, h * n * d);
    k = normals(random, h * m * d);
    v = normals(random, h * m * d);
    out.resize(q.size());
    lse.resize(static_cast<std::size_t>(h * n));
    problem.query = contiguous(q.data(), {h, n, d});
    problem.key = contiguous(k.data(), {h, m, d});
    problem.value = contiguous(v.data(), {h, m, d});
  }
  Small(const Small&) = delete;
  Small& operator=(const Small&) = delete;

  void run() {
    const Array rows = contiguous(lse.data(), {heads, queries});
    attention(problem, contiguous(out.data(), {heads, queries, dim}), &rows);
  }
};

TEST_CASE("softcap, ALiBi and sinks do what loops in double do") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(3);
    Small s(random, 3, 70, 150, 20);
    const std::vector<double> caps = {0, 1.5, 4}, slopes = {0.5, 0.01, -0.02};
    const std::vector<double> sinks = {0.5, -kInfinity, 3};
    s.problem.softcap = PerHead<double>(caps);
    s.problem.alibi_slopes = contiguous(slopes.data(), {3});
    s.problem.sinks = PerHead<double>(sinks);
    s.problem.scale = 0.7;
    s.problem.causal = Causal::lower_right;
    s.run();
    double worst = 0;
    for (std::int64_t row = 0; row < s.heads * s.queries; ++row) {
      const std::int64_t h = row / s.queries, position = row % s.queries + s.keys - s.queries;
      double sum = std::exp(at(sinks, h));
      std::vector<double> expected(static_cast<std::size_t>(s.dim));
      for (std::int64_t j = 0; j <= position; ++j) {
        double score = 0;
        for (std::int64_t c = 0; c < s.dim; ++c) {
          score += at(s.q, row * s.dim + c) * at(s.k, (h * s.keys + j) * s.dim + c);
        }
        score *= 0.7;
        if (at(caps, h) > 0) score = at(caps, h) * std::tanh(score / at(caps, h));
        score -= at(slopes, h) * static_cast<double>(position - j);
        const double weight = std::exp(score);
        sum += weight;
        for (std::int64_t c = 0; c < s.dim; ++c) {
          expected[static_cast<std::size_t>(c)] += weight * at(s.v, (h * s.keys + j) * s.dim + c);
        }
      }
      for (std::int64_t c = 0; c < s.dim; ++c) {
        worst = std::max(worst, std::abs(at(s.out, row * s.dim + c) - at(expected, c) / sum));
      }
      worst = std::max(worst, std::abs(at(s.lse, row) - std::log(sum)));
    }
    CHECK_MESSAGE(worst < 1e-12, isa << ": " << worst);
  }
}

TEST_CASE("a block mask means what the dense mask does") {
  constexpr std::int64_t heads = 2, queries = 100, keys = 139, block = 48, rows = 3, columns = 3;
  Random random(5);
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Small s(random, heads, queries, keys, 12);
    bool dense[heads * queries * keys] = {};
    std::vector<std::int64_t> row_begin = {0};
    std::vector<std::int32_t> column_of, partial;
    std::vector<std::uint8_t> bits;
    for (std::int64_t row = 0; row < heads * rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::int64_t kind = pick(random, 0, 2);  // empty, full, partial
        if (kind == 0) continue;
        const std::size_t first = bits.size();
        column_of.push_back(static_cast<std::int32_t>(column));
        partial.push_back(kind == 1 ? -1
                                    : static_cast<std::int32_t>(bits.size() / (block * block / 8)));
        if (kind == 2) bits.resize(first + block * block / 8);
        for (std::int64_t i = 0; i < block * block; ++i) {
          const std::int64_t query = row % rows * block + i / block,
                             key = column * block + i % block;
          if (query >= queries || key >= keys || (kind == 2 && chance(random, 0.5))) continue;
          dense[(row / rows * queries + query) * keys + key] = true;
          if (kind == 2) {
            std::uint8_t& byte = bits[first + static_cast<std::size_t>(i / 8)];
            byte = static_cast<std::uint8_t>(byte | 1 << i % 8);
          }
        }
      }
      row_begin.push_back(static_cast<std::int64_t>(column_of.size()));
    }
    s.problem.block_mask =
        BlockMask{{heads}, queries, keys, block, row_begin, column_of, partial, bits};
    s.run();
    const std::vector<double> out = s.out, lse = s.lse;
    s.problem.block_mask.reset();
    s.problem.mask = contiguous(dense, {heads, queries, keys});
    s.run();
    double worst = 0;
    for (std::size_t i = 0; i < out.size(); ++i)
      worst = std::max(worst, std::abs(out[i] - s.out[i]));
    for (std::size_t i = 0; i < lse.size(); ++i) {
      if (lse[i] != s.lse[i]) worst = std::max(worst, std::abs(lse[i] - s.lse[i]));
    }
    CHECK_MESSAGE(worst < 1e-13, isa << ": " << worst);
  }
}

TEST_CASE("packed pieces give the bits that each gives alone") {
  constexpr std::int64_t heads = 3, dim = 20, pieces = 4;
  const std::vector<std::int64_t> query_starts = {0, 70, 70, 71, 200};
  const std::vector<std::int64_t> key_starts = {0, 90, 95, 100, 300};
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(7);
    Small s(random, heads, query_starts.back(), key_starts.back(), dim);
    s.problem.causal = Causal::lower_right;
    s.problem.query_starts = contiguous(query_starts.data(), {pieces + 1});
    s.problem.key_starts = contiguous(key_starts.data(), {pieces + 1});
    s.run();
    const std::vector<double> packed = s.out, lse = s.lse;
    s.problem.query_starts.reset();
    s.problem.key_starts.reset();
    const Problem whole = s.problem;
    std::ranges::fill(s.out, 0);
    std::ranges::fill(s.lse, 0);
    for (std::size_t n = 0; n < pieces; ++n) {
      const auto part = [](Array array, const std::vector<std::int64_t>& starts,
                           std::size_t piece) {
        array.data = static_cast<char*>(array.data) + starts[piece] * array.strides[1];
        array.shape[1] = starts[piece + 1] - starts[piece];
        return array;
      };
      Problem alone = whole;
      alone.query = part(whole.query, query_starts, n);
      alone.key = part(whole.key, key_starts, n);
      alone.value = part(whole.value, key_starts, n);
      const Array rows = part(contiguous(s.lse.data(), {heads, s.queries}), query_starts, n);
      attention(alone, part(contiguous(s.out.data(), {heads, s.queries, dim}), query_starts, n),
                &rows);
    }
    CHECK(packed == s.out);
    CHECK(lse == s.lse);
  }
}

TEST_CASE("softmax of the last scores is the weights, and the scores before are of all pairs") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(11);
    Small s(random, 2, 33, 75, 8);
    s.problem.window_left = 30;
    const Plan plan(s.problem);
    const std::vector<std::int64_t> rows = {0, 1, 32};
    const auto count = static_cast<std::int64_t>(rows.size());
    const auto written = [&](Stage stage) {
      std::vector<double> scores(static_cast<std::size_t>(s.heads * count * s.keys));
      plan.weights(rows, 0, s.keys, contiguous(scores.data(), {1, s.heads, count, s.keys}), stage);
      return scores;
    };
    const std::vector<double> weights = written(Stage::weights), masked = written(Stage::masked);
    const std::vector<double> scaled = written(Stage::scaled);
    CHECK(scaled == written(Stage::softcapped));  // there is none
    double worst = 0;
    for (std::int64_t row = 0; row < s.heads * count; ++row) {
      const std::int64_t h = row / count, i = rows[static_cast<std::size_t>(row % count)];
      double sum = 0;
      for (std::int64_t j = 0; j < s.keys; ++j) sum += std::exp(at(masked, row * s.keys + j));
      for (std::int64_t j = 0; j < s.keys; ++j) {
        const double p = std::exp(at(masked, row * s.keys + j)) / sum;
        worst = std::max(worst, std::abs(at(weights, row * s.keys + j) - p));
        double product = 0;
        for (std::int64_t c = 0; c < s.dim; ++c) {
          product +=
              at(s.q, (h * s.queries + i) * s.dim + c) * at(s.k, (h * s.keys + j) * s.dim + c);
        }
        product /= std::sqrt(static_cast<double>(s.dim));
        worst = std::max(worst, std::abs(at(scaled, row * s.keys + j) - product));
      }
    }
    CHECK(worst < 1e-12);
  }
}

TEST_CASE("weights times values is the output, and the summary is that of the weights") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(9);
    constexpr std::int64_t top = 2, cells = 5;
    Small s(random, 2, 33, 75, 8);
    s.problem.window_left = 30;
    s.run();
    const Plan plan(s.problem);
    std::vector<std::int64_t> rows(static_cast<std::size_t>(s.queries));
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<double> weights(static_cast<std::size_t>(s.heads * s.queries * s.keys));
    plan.weights(rows, 0, s.keys, contiguous(weights.data(), {1, s.heads, s.queries, s.keys}));
    const auto numbers = [&](std::int64_t each) {
      return std::vector<double>(static_cast<std::size_t>(s.heads * each));
    };
    std::vector<double> lse = numbers(s.queries), entropy = lse, row_max = lse;
    std::vector<double> top_weights = numbers(s.queries * top), sums = numbers(s.keys);
    std::vector<double> pooled = numbers(cells * cells);
    std::vector<std::int64_t> top_keys(top_weights.size());
    plan.summary({lse.data(), entropy.data(), row_max.data(), top_weights.data(), top_keys.data(),
                  sums.data(), pooled.data(), top, cells, cells});
    double worst = 0;
    const auto compare = [&](double got, double expected) {
      worst = std::max(worst, std::abs(got - expected));
    };
    std::vector<double> columns(sums.size());
    for (std::int64_t row = 0; row < s.heads * s.queries; ++row) {
      const std::int64_t h = row / s.queries;
      std::vector<double> sorted, out(static_cast<std::size_t>(s.dim));
      double information = 0;
      for (std::int64_t j = 0; j < s.keys; ++j) {
        const double p = at(weights, row * s.keys + j);
        sorted.push_back(p);
        if (p > 0) information -= p * std::log(p);
        columns[static_cast<std::size_t>(h * s.keys + j)] += p;
        for (std::int64_t c = 0; c < s.dim; ++c) {
          out[static_cast<std::size_t>(c)] += p * at(s.v, (h * s.keys + j) * s.dim + c);
        }
      }
      for (std::int64_t c = 0; c < s.dim; ++c) compare(at(s.out, row * s.dim + c), at(out, c));
      std::ranges::sort(sorted, std::greater<>());
      compare(at(lse, row), at(s.lse, row));
      compare(at(entropy, row), information);
      compare(at(row_max, row), sorted[0]);
      for (std::int64_t n = 0; n < top; ++n) {
        const auto place = static_cast<std::size_t>(row * top + n);
        compare(top_weights[place], at(sorted, n));
        compare(top_weights[place], at(weights, row * s.keys + top_keys[place]));
      }
    }
    for (std::size_t j = 0; j < sums.size(); ++j) compare(sums[j], columns[j]);
    for (std::int64_t row = 0; row < s.heads * cells; ++row) {
      double sum = 0;
      for (std::int64_t n = 0; n < cells; ++n) sum += at(pooled, row * cells + n);
      compare(sum, 1);
    }
    CHECK_MESSAGE(worst < 1e-12, isa << ": " << worst);
  }
}

}  // namespace
}  // namespace regard::test
