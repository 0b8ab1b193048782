// Bad arguments: one case for each message, thrown before anything is read or written.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "regard/attention.hpp"

namespace regard::test {
namespace {

/// An array with a shape and no memory: whoever reads or writes it crashes.
Array shaped(DType dtype, std::initializer_list<std::int64_t> shape) {
  Array array = contiguous<const double>(nullptr, shape);
  array.dtype = dtype;
  return array;
}

Array f32(std::initializer_list<std::int64_t> shape) { return shaped(DType::float32, shape); }

/// 2 x 6 query heads on 3 kv heads, 5 queries, 7 keys, head_dim 8, value_dim 4.
Problem good() {
  Problem p;
  p.query = f32({2, 6, 5, 8});
  p.key = f32({2, 3, 7, 8});
  p.value = f32({2, 3, 7, 4});
  return p;
}

template <class Error>
std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

template <class Error>
std::string refusal(const std::function<void(Problem&)>& spoil) {
  return message_of<Error>([&] {
    Problem p = good();
    spoil(p);
    const Plan plan(p);
  });
}

bool starts(const std::string& text, const std::string& start) { return text.starts_with(start); }

struct BadValue {
  const char* start;
  std::function<void(Problem&)> spoil;
};

const BadValue kBadValues[] = {
    {"attention: query has 0 axes.", [](Problem& p) { p.query = f32({}); }},
    {"attention: key has 1 axis.", [](Problem& p) { p.key = f32({8}); }},
    {"attention: value has 1 axis.", [](Problem& p) { p.value = f32({4}); }},
    {"attention: query and key disagree on head_dim (8 vs 9).",
     [](Problem& p) {
       p.key = f32({2, 3, 7, 9});
     }},
    {"attention: query and key have head_dim 0.",
     [](Problem& p) {
       p.query = f32({2, 6, 5, 0});
       p.key = f32({2, 3, 7, 0});
     }},
    {"attention: key and value disagree on length (7 vs 6).",
     [](Problem& p) {
       p.value = f32({2, 3, 6, 4});
     }},
    {"attention: key and value disagree on heads (3 vs 1).",
     [](Problem& p) {
       p.value = f32({2, 1, 7, 4});
     }},
    {"attention: query has 5 heads and key has 3.",
     [](Problem& p) {
       p.query = f32({2, 5, 5, 8});
     }},
    {"attention: query has 6 heads and key has 0.",
     [](Problem& p) {
       p.key = f32({2, 0, 7, 8});
       p.value = f32({2, 0, 7, 4});
     }},
    {"attention: the batch axes of query, key and value do not broadcast (2 vs 3).",
     [](Problem& p) {
       p.value = f32({3, 3, 7, 4});
     }},
    {"attention: mask does not broadcast to (2, 6, 5, 7).",
     [](Problem& p) {
       p.mask = shaped(DType::boolean, {5, 5});
     }},
    {"attention: mask does not broadcast to (2, 6, 5, 7).",
     [](Problem& p) {
       p.mask = shaped(DType::boolean, {1, 1, 1, 5, 7});
     }},
    {"attention: bias does not broadcast to (2, 6, 5, 7).",
     [](Problem& p) {
       p.bias = f32({3, 5, 7});
     }},
    {"attention: key_lengths of shape (3,) does not broadcast to the batch axes (2,).",
     [](Problem& p) { p.key_lengths = shaped(DType::int64, {3}); }},
    {"attention: scale is not finite.", [](Problem& p) { p.scale = 1e308 * 10; }},
    {"attention: num_threads is 0.", [](Problem& p) { p.threads = 0; }},
};

TEST_CASE("bad values") {
  for (const BadValue& bad : kBadValues) {
    const std::string message = refusal<ValueError>(bad.spoil);
    CHECK_MESSAGE(starts(message, bad.start), message);
  }
}

TEST_CASE("bad types") {
  const auto check = [](const char* start, const std::function<void(Problem&)>& spoil) {
    const std::string message = refusal<TypeError>(spoil);
    CHECK_MESSAGE(starts(message, start), message);
  };
  check("attention: query has dtype int32.", [](Problem& p) { p.query.dtype = DType::int32; });
  check("attention: query has dtype unsupported.",
        [](Problem& p) { p.query.dtype = DType::other; });
  check("attention: key has dtype float64 but query has float32.",
        [](Problem& p) { p.key.dtype = DType::float64; });
  check("attention: value has dtype int16 but query has float32.",
        [](Problem& p) { p.value.dtype = DType::int16; });
  check("attention: value has dtype int8 and no scales.",
        [](Problem& p) { p.value.dtype = DType::int8; });
  check("attention: mask has dtype uint8.", [](Problem& p) {
    p.mask = shaped(DType::uint8, {5, 7});
  });
  check("attention: bias has dtype float64 but query has float32.", [](Problem& p) {
    p.bias = shaped(DType::float64, {5, 7});
  });
  check("attention: key_lengths has dtype int32.",
        [](Problem& p) { p.key_lengths = shaped(DType::int32, {2}); });
}

TEST_CASE("lengths out of range") {
  for (const std::int64_t bad : {-1, 8}) {
    const std::int64_t lengths[] = {7, bad};
    const std::string message =
        refusal<ValueError>([&](Problem& p) { p.key_lengths = contiguous(lengths, {2}); });
    CHECK(starts(message,
                 "attention: key_lengths holds " + std::to_string(bad) + ", outside 0 .. 7."));
  }
}

TEST_CASE("a message names the argument, shows the shapes and says what to do") {
  const std::string message = refusal<ValueError>([](Problem& p) {
    p.query = f32({2, 8, 512, 128});
    p.key = f32({2, 8, 512, 64});
    p.value = f32({2, 8, 512, 64});
  });
  CHECK(message ==
        "attention: query and key disagree on head_dim (128 vs 64).\n"
        "  query  (batch=2, heads=8, length=512, head_dim=128) float32\n"
        "  key    (batch=2, heads=8, length=512, head_dim=64)  float32\n"
        "  The last axis of query and key must match.");
}

std::string output_refusal(const Array& out, const Array* lse = nullptr) {
  const Plan plan(good());
  std::string message = message_of<ValueError>([&] { plan.run(out, lse); });
  if (message != "nothing was thrown") return message;
  return message_of<TypeError>([&] { plan.run(out, lse); });
}

TEST_CASE("bad outputs") {
  std::vector<float> memory(2 * 6 * 5 * 4, 9);
  const Array out = contiguous(memory.data(), {2, 6, 5, 4});
  Array bad = contiguous(memory.data(), {2, 6, 4, 5});
  CHECK(starts(output_refusal(bad),
               "attention: out has shape (2, 6, 4, 5); the result has (2, 6, 5, 4)."));
  bad = out;
  bad.dtype = DType::float64;
  CHECK(starts(message_of<TypeError>([&] { Plan(good()).run(bad); }),
               "attention: out has dtype float64; the result is float32."));
  bad = out;
  bad.writable = false;
  CHECK(starts(output_refusal(bad), "attention: out is read-only."));
  bad = out;
  bad.strides[1] = 0;
  CHECK(starts(output_refusal(bad), "attention: out is a broadcast view: axis 1 has stride 0."));
  const Array lse = contiguous(memory.data(), {2, 6, 4});
  CHECK(starts(output_refusal(out, &lse),
               "attention: lse has shape (2, 6, 4); the result has (2, 6, 5)."));
  CHECK(memory == std::vector<float>(memory.size(), 9));
}

TEST_CASE("a plan tells the shapes of its outputs") {
  const auto vector = [](std::span<const std::int64_t> s) {
    return std::vector<std::int64_t>(s.begin(), s.end());
  };
  using Shape = std::vector<std::int64_t>;
  const Plan plan(good());
  CHECK(vector(plan.out_shape()) == Shape{2, 6, 5, 4});
  CHECK(vector(plan.lse_shape()) == Shape{2, 6, 5});
  CHECK(plan.dtype() == DType::float32);
  CHECK(plan.threads() >= 1);
  Problem p = good();
  p.query = f32({8});
  p.key = f32({7, 8});
  p.value = f32({7, 4});
  CHECK(vector(Plan(p).out_shape()) == Shape{4});
  CHECK(vector(Plan(p).lse_shape()) == Shape{});
}

TEST_CASE("weights and summaries check where they go") {
  const Plan plan(good());  // (2, 6, 5) queries of 7 keys
  const std::vector<std::int64_t> rows = {0, 4};
  std::vector<float> memory(2 * 6 * 2 * 7);
  std::vector<double> wide(memory.size());
  const Array out = contiguous(memory.data(), {2, 6, 2, 7});
  CHECK_THROWS_AS(plan.weights(rows, 0, 6, out), ValueError);
  CHECK_THROWS_AS(plan.weights(rows, 5, 4, out), ValueError);
  CHECK_THROWS_AS(plan.weights({}, 0, 7, out), ValueError);
  CHECK_THROWS_AS(plan.weights(rows, 0, 7, contiguous(memory.data(), {2, 1, 2, 7})), ValueError);
  CHECK_THROWS_AS(plan.weights(rows, 0, 7, contiguous(wide.data(), {2, 6, 2, 7})), TypeError);
  const float* constant = memory.data();
  CHECK_THROWS_AS(plan.weights(rows, 0, 7, contiguous(constant, {2, 6, 2, 7})), ValueError);
  Summary summary = {};
  summary.query_cells = 6;  // of 5 queries
  CHECK_THROWS_AS(plan.summary(summary), ValueError);
}

TEST_CASE("instruction sets by name") {
  const std::string before(active_isa());
  for (const std::string_view isa : available_isas()) {
    set_isa(isa);
    CHECK(active_isa() == isa);
  }
  const std::string last(active_isa());
  CHECK(last == "generic");
  const std::string message = message_of<ValueError>([] { set_isa("mmx"); });
  CHECK(starts(message, "set_isa: 'mmx' is not an instruction set of this build and CPU."));
  CHECK(message.find("generic") != std::string::npos);
  CHECK(active_isa() == last);
  set_isa(before);
  CHECK_THROWS_AS(fma_ceiling("mmx", DType::float32, 1), ValueError);
  CHECK_THROWS_AS(fma_ceiling("generic", DType::float32, 0), ValueError);
  CHECK(fma_ceiling("generic", DType::float32, 1) > 1e8);
}

}  // namespace
}  // namespace regard::test
