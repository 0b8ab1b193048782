// Threads: any number of them gives the same bits, and calls may come from several at once.
#include <doctest/doctest.h>

#include <functional>
#include <numeric>
#include <thread>

#include "problems.hpp"

namespace regard::test {
namespace {

/// A case with several units of work, large enough that a call does use its threads.
Spec parallel_spec(DType dtype) {
  Spec spec;
  spec.dtype = dtype;
  spec.batch = {2};
  spec.kv_heads = 2;
  spec.group = 2;
  spec.queries = 131;
  spec.keys = 141;
  spec.head_dim = 24;
  spec.value_dim = 17;
  spec.causal = Causal::lower_right;
  spec.mask = true;
  return spec;
}

TEST_CASE("the number of threads does not change a bit") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64}) {
      std::vector<std::uint8_t> out, lse;
      for (const std::int64_t threads : {1, 2, 3, 7}) {
        Case c(parallel_spec(dtype), 5);
        c.problem().threads = threads;
        CHECK(Plan(c.problem()).threads() == threads);
        c.run();
        if (threads == 1) {
          c.check();
          out = c.out().bytes();
          lse = c.lse().bytes();
        }
        CHECK(c.out().bytes() == out);
        CHECK(c.lse().bytes() == lse);
      }
    }
  }
}

/// Four heads of float32 numbers, pieces of 100, 0 and 51 queries on 80, 10 and 61 keys.
struct Packed {
  static constexpr std::int64_t heads = 4, queries = 151, keys = 151, dim = 16, pieces = 3;
  static constexpr std::int64_t query_starts[] = {0, 100, 100, 151},
                                key_starts[] = {0, 80, 90, 151};
  std::vector<float> q = numbers(1), k = numbers(2), v = numbers(3);
  Problem problem;

  explicit Packed(bool in_pieces) {
    problem.query = contiguous(q.data(), {heads, queries, dim});
    problem.key = contiguous(k.data(), {heads, keys, dim});
    problem.value = contiguous(v.data(), {heads, keys, dim});
    problem.causal = Causal::lower_right;
    if (!in_pieces) return;
    problem.query_starts = contiguous(query_starts, {pieces + 1});
    problem.key_starts = contiguous(key_starts, {pieces + 1});
  }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;

  static std::vector<float> numbers(std::uint64_t seed) {
    Random random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(heads * queries * dim);
    std::ranges::generate(values, [&] { return normal(random); });
    return values;
  }
};

/// Checks that results(threads) are the same for any number of threads.
void check_any_threads(const std::function<std::vector<double>(std::int64_t)>& results) {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    const std::vector<double> alone = results(1);
    for (const std::int64_t threads : {2, 3, 7}) CHECK(results(threads) == alone);
  }
}

TEST_CASE("packed pieces, weights and summaries are the same for any number of threads") {
  check_any_threads([](std::int64_t threads) {
    Packed packed(true);
    packed.problem.threads = threads;
    CHECK(Plan(packed.problem).threads() == threads);
    std::vector<float> out(packed.q.size()), lse(Packed::heads * Packed::queries);
    const Array rows = contiguous(lse.data(), {Packed::heads, Packed::queries});
    attention(packed.problem, contiguous(out.data(), {Packed::heads, Packed::queries, Packed::dim}),
              &rows);
    std::vector<double> all(out.begin(), out.end());
    all.insert(all.end(), lse.begin(), lse.end());
    return all;
  });
  check_any_threads([](std::int64_t threads) {
    Packed whole(false);
    whole.problem.threads = threads;
    std::vector<std::int64_t> rows(Packed::queries);
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<float> weights(Packed::heads * Packed::queries * Packed::keys);
    Plan(whole.problem)
        .weights(rows, 0, Packed::keys,
                 contiguous(weights.data(), {1, Packed::heads, Packed::queries, Packed::keys}));
    return std::vector<double>(weights.begin(), weights.end());
  });
  check_any_threads([](std::int64_t threads) {
    constexpr std::int64_t top = 3, cells = 7, all_rows = Packed::heads * Packed::queries;
    Packed whole(false);
    whole.problem.threads = threads;
    std::vector<float> of_rows(all_rows * (3 + top));
    std::vector<std::int64_t> top_keys(all_rows * top);
    std::vector<double> sums(Packed::heads * Packed::keys), pooled(Packed::heads * cells * cells);
    float* const at = of_rows.data();
    Plan(whole.problem)
        .summary({at, at + all_rows, at + 2 * all_rows, at + 3 * all_rows, top_keys.data(),
                  sums.data(), pooled.data(), top, cells, cells});
    std::vector<double> all(of_rows.begin(), of_rows.end());
    all.insert(all.end(), top_keys.begin(), top_keys.end());
    all.insert(all.end(), sums.begin(), sums.end());
    all.insert(all.end(), pooled.begin(), pooled.end());
    return all;
  });
}

TEST_CASE("calls from several threads at once") {
  Case expected(parallel_spec(DType::float32), 11);
  expected.run();
  for (const std::int64_t inner : {1, 2}) {
    constexpr int callers = 4, calls = 3;
    std::vector<Case> cases;
    cases.reserve(callers);
    for (int i = 0; i < callers; ++i) {
      cases.emplace_back(parallel_spec(DType::float32), 11);
      cases.back().problem().threads = inner;
    }
    std::vector<std::thread> threads;
    for (Case& c : cases) {
      threads.emplace_back([&c] {
        for (int call = 0; call < calls; ++call) c.run();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Case& c : cases) {
      CHECK(c.out().bytes() == expected.out().bytes());
      CHECK(c.lse().bytes() == expected.lse().bytes());
    }
  }
}

TEST_CASE("calls may overlap with set_isa") {
  const UseIsa restore(active_isa());
  const Spec spec = parallel_spec(DType::float32);
  std::thread switcher([] {
    for (int round = 0; round < 200; ++round) {
      for (const std::string_view isa : available_isas()) set_isa(isa);
    }
  });
  for (int call = 0; call < 5; ++call) {
    Case c(spec, 13);
    c.run();
    c.check();
  }
  switcher.join();
}

TEST_CASE("a small call stays on its thread") {
  Spec spec;
  spec.kv_heads = 8;
  spec.queries = spec.keys = 4;
  spec.head_dim = spec.value_dim = 2;
  Case c(spec, 1);
  c.problem().threads = 8;
  CHECK(Plan(c.problem()).threads() == 1);
}

}  // namespace
}  // namespace regard::test
