// Strides of any kind: the same results, and nothing written but the elements of the outputs.
#include <doctest/doctest.h>

#include "problems.hpp"

namespace regard::test {
namespace {

void random_layouts(Layout layout) {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64}) {
      Random random(1961);
      for (int i = 0; i < sample(60); ++i) {
        Case c(draw_spec(random, dtype, layout), random());
        c.run();
        c.check();
      }
    }
  }
}

TEST_CASE("axes in any order, backwards, with gaps") { random_layouts(Layout::strided); }
TEST_CASE("addresses and strides that the element size does not divide") {
  random_layouts(Layout::unaligned);
}
TEST_CASE("axes of stride zero") { random_layouts(Layout::broadcast); }

TEST_CASE("guards tell a stray write") {
  Random random(3);
  for (const Layout layout : {Layout::contiguous, Layout::strided, Layout::unaligned}) {
    Buffer buffer(DType::float32, {3, 4}, layout, random);
    buffer.fill([] { return 1.0; });
    CHECK(buffer.intact());
    const_cast<std::uint8_t&>(buffer.bytes().back()) = 0;
    CHECK_FALSE(buffer.intact());
  }
}

std::vector<double> outputs(Case& c) {
  std::vector<double> numbers;
  for (const Buffer* buffer : {&c.out(), &c.lse()}) {
    for_each_index(buffer->shape(), [&](const Index& at) { numbers.push_back(buffer->get(at)); });
  }
  return numbers;
}

TEST_CASE("the layout of the inputs does not change a bit of the result") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64}) {
      for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Random random(seed);
        Spec spec = draw_spec(random, dtype, Layout::contiguous);
        Case first(spec, seed);
        first.run();
        for (const Layout layout : {Layout::strided, Layout::unaligned}) {
          spec.layout = layout;
          Case other(spec, seed);
          other.run();
          CHECK_MESSAGE(outputs(other) == outputs(first), describe(spec));
        }
      }
    }
  }
}

}  // namespace
}  // namespace regard::test
