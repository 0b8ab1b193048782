// Threads: any number of them gives the same bits, and calls may come from several at once.
#include <doctest/doctest.h>

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
