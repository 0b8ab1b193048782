// Gradients: against differences of the forward pass, and the same bits by any number of threads.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "problems.hpp"

namespace regard::test {
namespace {

/// Four query heads on two of keys, several blocks and tiles; memory and gradients of its own.
template <class T>
struct Training {
  static constexpr std::int64_t heads = 4, kv_heads = 2, queries = 210, keys = 150, dim = 17;
  std::vector<T> q = numbers(heads * queries, 1), k = numbers(kv_heads * keys, 2),
                 v = numbers(kv_heads * keys, 3), dout = numbers(heads * queries, 4);
  std::vector<T> out = std::vector<T>(q.size()), lse = std::vector<T>(heads * queries);
  std::vector<T> dq = out, dk = std::vector<T>(k.size()), dv = std::vector<T>(v.size());
  std::vector<T> bias = numbers(1, 5, queries* keys), dbias = std::vector<T>(queries * keys);
  std::vector<double> query_scale = Training<double>::numbers(1, 6, heads* queries),
                      dquery_scale = std::vector<double>(heads * queries);
  Problem problem;

  explicit Training(bool with_bias = true) {
    problem.query = contiguous(q.data(), {heads, queries, dim});
    problem.key = contiguous(k.data(), {kv_heads, keys, dim});
    problem.value = contiguous(v.data(), {kv_heads, keys, dim});
    if (with_bias) problem.bias = contiguous(bias.data(), {queries, keys});  // shared by all heads
    problem.causal = Causal::upper_left;
    problem.softcap = 5.0;
    problem.query_scale = contiguous(query_scale.data(), {heads, queries});
  }

  static std::vector<T> numbers(std::int64_t rows, std::uint64_t seed, std::int64_t columns = dim) {
    std::mt19937_64 random(seed);
    std::normal_distribution<T> normal;
    std::vector<T> values(static_cast<std::size_t>(rows * columns));
    std::ranges::generate(values, [&] { return normal(random); });
    return values;
  }

  double loss() {
    const Array to = contiguous(out.data(), {heads, queries, dim});
    const Array sums = contiguous(lse.data(), {heads, queries});
    Plan(problem).run(to, &sums);
    double sum = 0;
    for (std::size_t n = 0; n < out.size(); ++n) sum += double(out[n]) * double(dout[n]);
    return sum;
  }

  void backward() {
    Gradients gradients;
    gradients.query = contiguous(dq.data(), {heads, queries, dim});
    gradients.key = contiguous(dk.data(), {kv_heads, keys, dim});
    gradients.value = contiguous(dv.data(), {kv_heads, keys, dim});
    if (problem.bias) gradients.bias = contiguous(dbias.data(), {queries, keys});
    gradients.query_scale = contiguous(dquery_scale.data(), {1, heads, queries});
    const Saved saved = {contiguous(out.data(), {heads, queries, dim}),
                         contiguous(lse.data(), {heads, queries}),
                         contiguous(dout.data(), {heads, queries, dim}),
                         {}};
    Plan(problem).backward(saved, gradients);
  }

  /// Derivative of the loss along a random direction of `x`, by differences.
  double difference(std::vector<T>& x, const std::vector<T>& direction) {
    constexpr double step = 1e-6;
    const std::vector<T> before = x;
    const auto at = [&](double by) {
      for (std::size_t n = 0; n < x.size(); ++n) x[n] = T(before[n] + by * direction[n]);
      return loss();
    };
    const double rise = at(step) - at(-step);
    x = before;
    return rise / (2 * step);
  }
};

TEST_CASE("gradients are those of the forward pass") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Training<double> t;
    t.loss();
    t.backward();
    for (auto [x, gradient] : {std::pair{&t.q, &t.dq},
                               {&t.k, &t.dk},
                               {&t.v, &t.dv},
                               {&t.bias, &t.dbias},
                               {&t.query_scale, &t.dquery_scale}}) {
      const auto direction = Training<double>::numbers(1, 9, std::int64_t(x->size()));
      double along = 0;
      for (std::size_t n = 0; n < x->size(); ++n) along += (*gradient)[n] * direction[n];
      CHECK(t.difference(*x, direction) == doctest::Approx(along).epsilon(1e-6));
    }
  }
}

/// With a bias all heads take turns, without one those that share keys.
template <class T>
void check_threads(bool with_bias) {
  Training<T> one(with_bias);
  one.problem.threads = 1;
  one.loss();
  one.backward();
  for (const std::int64_t threads : {2, 3, 7}) {
    Training<T> t(with_bias);
    t.problem.threads = threads;
    t.loss();
    t.backward();
    CHECK(t.dq == one.dq);
    CHECK(t.dk == one.dk);
    CHECK(t.dv == one.dv);
    CHECK(t.dbias == one.dbias);
    CHECK(t.dquery_scale == one.dquery_scale);
  }
}

TEST_CASE("the number of threads does not change a bit of the gradients") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const bool with_bias : {true, false}) {
      check_threads<float>(with_bias);
      check_threads<double>(with_bias);
    }
  }
}

}  // namespace
}  // namespace regard::test
