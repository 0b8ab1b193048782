// What is masked does not matter, whatever its memory holds; what is not, shows.
#include <doctest/doctest.h>

#include "problems.hpp"

namespace regard::test {
namespace {

Spec draw_masked(Random& random, DType dtype) {
  const auto layout = static_cast<Layout>(pick(random, 0, 3));
  for (;;) {
    const Spec spec = draw_spec(random, dtype, layout);
    const bool masked = spec.mask || spec.bias || spec.lengths || spec.left || spec.right ||
                        spec.causal != Causal::none;
    if (masked) return spec;
  }
}

template <class Poison>
void poisoned(const Poison& poison) {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64}) {
      Random random(451);
      for (int i = 0; i < sample(120); ++i) {
        const Spec spec = draw_masked(random, dtype);
        const bool other = dtype == DType::float32 && i >= 80;
        Case c(other ? draw_types(random, spec) : spec, random());
        poison(c);
        c.run();
        c.check();
      }
    }
  }
}

TEST_CASE("NaN and Inf where no row looks") {
  poisoned([](Case& c) { c.poison_unseen(); });
}

TEST_CASE("NaN in a key and a value reaches the rows that see them and no other") {
  poisoned([](Case& c) { c.poison_one(); });
}

TEST_CASE("rows that see nothing are 0 with an LSE of -inf, whatever is there") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> x(20, nan);
    std::vector<float> out(20, nan), lse(5, nan);
    Problem problem;
    problem.query = problem.key = problem.value = contiguous(x.data(), {5, 4});
    bool none = false;
    problem.mask = contiguous(&none, {1, 1});
    const Array lse_view = contiguous(lse.data(), {5});
    attention(problem, contiguous(out.data(), {5, 4}), &lse_view);
    CHECK(out == std::vector<float>(20, 0));
    CHECK(lse == std::vector<float>(5, -std::numeric_limits<float>::infinity()));
  }
}

TEST_CASE("no keys at all") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    std::vector<float> out(8, 9), lse(4, 9);
    const std::vector<float> query(12, 1);
    Problem problem;
    problem.query = contiguous(query.data(), {4, 3});
    problem.key = contiguous<const float>(nullptr, {0, 3});
    problem.value = contiguous<const float>(nullptr, {0, 2});
    const Array lse_view = contiguous(lse.data(), {4});
    attention(problem, contiguous(out.data(), {4, 2}), &lse_view);
    CHECK(out == std::vector<float>(8, 0));
    CHECK(lse == std::vector<float>(4, -std::numeric_limits<float>::infinity()));
  }
}

TEST_CASE("a score of +inf gives NaN, one of -inf no weight") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<float> query = {1}, value = {2, 3};
    std::vector<float> key = {inf, 1};
    float out = 0;
    Problem problem;
    problem.query = contiguous(query.data(), {1, 1});
    problem.key = contiguous(key.data(), {2, 1});
    problem.value = contiguous(value.data(), {2, 1});
    attention(problem, contiguous(&out, {1, 1}));
    CHECK(std::isnan(out));
    key[0] = -inf;
    attention(problem, contiguous(&out, {1, 1}));
    CHECK(out == 3);
  }
}

}  // namespace
}  // namespace regard::test
