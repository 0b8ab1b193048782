// Storage types against the oracle, pages against the same keys in one piece, stores against
// rounding in double.
#include <doctest/doctest.h>

#include "problems.hpp"
#include "regard/store.hpp"

namespace regard::test {
namespace {

constexpr DType kHalves[] = {DType::bfloat16, DType::float16};

TEST_CASE("16 bits to double and back") {
  for (const int fraction : {7, 10}) {
    for (int bits = 0; bits < 65536; ++bits) {
      const double x = from_half(static_cast<std::uint16_t>(bits), fraction);
      if (!std::isnan(x)) CHECK(to_half(x, fraction) == bits);
    }
  }
  CHECK(from_half(0x3F80, 7) == 1);
  CHECK(from_half(0xC000, 10) == -2);
  CHECK(to_half(1 + 0x1p-8, 7) == 0x3F80);  // ties go to even
  CHECK(to_half(1 + 3 * 0x1p-8, 7) == 0x3F82);
  CHECK(to_half(65519, 10) == 0x7BFF);
  CHECK(to_half(65520, 10) == 0x7C00);
}

TEST_CASE("random problems of every type and mix") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(1942);
    for (int i = 0; i < sample(250); ++i) {
      const auto layout = static_cast<Layout>(pick(random, 0, 3));
      Spec spec = draw_spec(random, DType::float32, layout);
      if (chance(random, 0.3)) spec.queries = pick(random, 1, 4);  // decode
      Case c(draw_types(random, spec), random());
      c.run();
      c.check();
    }
  }
}

TEST_CASE("every number of columns") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (std::int64_t n = 1; n <= 70; ++n) {
      for (const DType dtype : {DType::bfloat16, DType::float16, DType::int8}) {
        Spec spec;
        spec.dtype = dtype == DType::int8 ? DType::float32 : dtype;
        if (dtype == DType::int8) spec.key_dtype = spec.value_dtype = dtype;
        spec.queries = n % 5 == 0 ? 30 : n % 5;
        spec.keys = 40 + n;
        spec.head_dim = n;
        spec.value_dim = 71 - n;
        Case c(spec, static_cast<std::uint64_t>(n));
        c.run();
        c.check();
      }
    }
  }
}

/// Keys and values in pages of so many rows, in an order of their own, and the table of them.
struct Pages {
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<std::int64_t> table, lengths;
  Problem problem;

  Pages(const Problem& whole, std::int64_t page_size, Layout layout, Random& random)
      : problem(whole) {
    const Sizes n(whole);
    const std::int64_t elements = n.batch.at(0), blocks = (n.keys + page_size - 1) / page_size;
    const std::int64_t pages = elements * blocks + 2;
    std::vector<std::int64_t> order(static_cast<std::size_t>(pages));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (std::int64_t b = 0; b < elements; ++b) {
      lengths.push_back(whole.key_lengths ? load<std::int64_t>(address(*whole.key_lengths, {{b}}))
                                          : n.keys);
      for (std::int64_t block = 0; block < blocks; ++block) {
        const bool used = block * page_size < lengths.back();
        table.push_back(used ? order[static_cast<std::size_t>(b * blocks + block)] : -1);
      }
    }
    const auto copy = [&](const Array& from, const Index& last) {
      Index shape = {pages, page_size, n.kv_heads};
      shape.insert(shape.end(), last.begin(), last.end());
      Buffer& to =
          *buffers.emplace_back(std::make_unique<Buffer>(from.dtype, shape, layout, random));
      for_each_index({elements, n.kv_heads, n.keys}, [&](const Index& at) {
        if (at[2] >= lengths[static_cast<std::size_t>(at[0])]) return;  // stays as it is: NaN
        const std::int64_t page =
            table[static_cast<std::size_t>(at[0] * blocks + at[2] / page_size)];
        for_each_index(last.empty() ? Index{1} : last, [&](const Index& column) {
          Index source = at, target = {page, at[2] % page_size, at[1]};
          if (!last.empty()) {
            source.push_back(column[0]);
            target.push_back(column[0]);
          }
          std::memcpy(address(to.array(), target), address(from, source), size(from.dtype));
        });
      });
      return to.array();
    };
    problem.key = copy(whole.key, {n.head_dim});
    problem.value = copy(whole.value, {n.value_dim});
    if (whole.key_scales) problem.key_scales = copy(*whole.key_scales, {});
    if (whole.value_scales) problem.value_scales = copy(*whole.value_scales, {});
    problem.block_table = contiguous(table.data(), {elements, blocks});
    problem.key_lengths = contiguous(lengths.data(), {elements});
  }
};

TEST_CASE("keys in pages give the bits that they give in one piece") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(4096);
    for (int i = 0; i < sample(60); ++i) {
      Spec spec = draw_spec(random, DType::float32, Layout::contiguous);
      spec.batch = {pick(random, 1, 3)};
      spec.mask = spec.bias = false;  // which would have as many keys as pages have room for
      spec.keys = std::max<std::int64_t>(spec.keys, 1);
      if (chance(random, 0.5)) spec.queries = pick(random, 1, 3);
      if (chance(random, 0.8)) spec = draw_types(random, spec);
      Case whole(spec, random());
      whole.run();
      whole.check();
      const Sizes n(whole.problem());
      if (n.batch != spec.batch) continue;  // all axes were drawn as 1
      const auto layout = static_cast<Layout>(pick(random, 0, 2));
      const std::int64_t sizes[] = {1, 3, 16, 64, 256};
      Pages pages(whole.problem(), sizes[pick(random, 0, 4)], layout, random);
      Buffer out(whole.out().array().dtype, whole.out().shape(), layout, random);
      Buffer lse(whole.lse().array().dtype, whole.lse().shape(), layout, random);
      const Array lse_view = lse.array(true);
      attention(pages.problem, out.array(true), &lse_view);
      for (const auto& [got, wanted] : {std::pair{&out, &whole.out()}, {&lse, &whole.lse()}}) {
        bool same = true;
        for_each_index(got->shape(), [&](const Index& at) {
          same &= std::memcmp(address(got->array(), at), address(wanted->array(), at),
                              size(got->array().dtype)) == 0;
        });
        CHECK_MESSAGE(same, describe(spec));
        CHECK(got->intact());
      }
    }
  }
}

TEST_CASE("tables that name no page") {
  const std::vector<float> x(2 * 4 * 1 * 3, 1);
  std::vector<float> out(3);
  for (const std::int64_t page :
       {std::int64_t{2}, std::int64_t{-1}, std::int64_t{-2},
        std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
    const std::vector<std::int64_t> table = {1, page};
    Problem problem;
    problem.query = contiguous(x.data(), {1, 1, 1, 3});
    problem.key = problem.value = contiguous(x.data(), {2, 4, 1, 3});
    problem.block_table = contiguous(table.data(), {1, 2});
    std::int64_t length = 5;
    problem.key_lengths = contiguous(&length, {1});
    const Array result = contiguous(out.data(), {1, 1, 1, 3});
    CHECK_THROWS_AS(attention(problem, result), ValueError);
    length = 4;  // the second page is not reached
    attention(problem, result);
    CHECK(out == std::vector<float>(3, 1));
    length = 9;
    CHECK_THROWS_AS(attention(problem, result), ValueError);
  }
}

TEST_CASE("a store rounds as double does") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(11);
    for (int i = 0; i < sample(60); ++i) {
      const Index shape = {pick(random, 0, 3), pick(random, 0, 5), pick(random, 1, 40)};
      const auto layout = [&] { return static_cast<Layout>(pick(random, 0, 2)); };
      Buffer from(DType::float32, shape, layout(), random);
      std::normal_distribution<double> normal;
      from.fill(
          [&] { return normal(random) * std::ldexp(1, static_cast<int>(pick(random, -30, 14))); });
      for (const DType dtype : kHalves) {
        Buffer to(dtype, shape, layout(), random);
        store(from.array(), to.array(true));
        bool same = true;
        for_each_index(shape, [&](const Index& at) {
          const std::uint16_t wanted = to_half(from.get(at), dtype == DType::bfloat16 ? 7 : 10);
          same &= load<std::uint16_t>(address(to.array(), at)) == wanted;
        });
        CHECK(same);
        CHECK(to.intact());
      }
      Buffer to(DType::int8, shape, layout(), random);
      Buffer scales(DType::float32, {shape[0], shape[1]}, layout(), random);
      const Array scale_view = scales.array(true);
      store(from.array(), to.array(true), &scale_view);
      for_each_index({shape[0], shape[1]}, [&](const Index& row) {
        double largest = 0;
        for (std::int64_t c = 0; c < shape[2]; ++c) {
          largest = std::max(largest, std::abs(from.get({row[0], row[1], c})));
        }
        const auto scale = static_cast<float>(scales.get(row));
        CHECK(scale == static_cast<float>(largest) / 127.0f);
        for (std::int64_t c = 0; c < shape[2]; ++c) {
          const auto x = static_cast<float>(from.get({row[0], row[1], c}));
          CHECK(to.get({row[0], row[1], c}) == (scale == 0 ? 0 : std::nearbyint(x / scale)));
        }
      });
      CHECK(to.intact());
      CHECK(scales.intact());
    }
  }
}

}  // namespace
}  // namespace regard::test
