// Times forward and backward together, or one of them: useful work is 3.5 times that of the forward
// pass alone (seven products in place of two), 2.5 times for the backward pass.
//
//   cmake --preset benchmark && cmake --build --preset benchmark
//   build/benchmark/benchmarks/native/backward --filter full --threads 1
#include "program.hpp"

namespace {

using namespace regard;
using namespace regard::benchmark;

/// Gradients of a case, and what they are computed from.
template <class T>
struct Backward {
  Inputs<T> inputs;
  std::vector<T> lse, dout, query, key, value, bias;
  std::vector<double> sinks, slopes, table;
  Saved saved;
  Gradients gradients;

  explicit Backward(const Case& c) : inputs(c, 20170612) {
    const auto numbers = [](std::vector<T>& to, std::initializer_list<std::int64_t> shape, T with) {
      std::int64_t count = 1;
      for (const std::int64_t extent : shape) count *= extent;
      to.assign(static_cast<std::size_t>(count), with);
      return contiguous(to.data(), shape);
    };
    const auto doubles = [](std::vector<double>& to, std::int64_t rows, std::int64_t columns) {
      to.assign(static_cast<std::size_t>(rows * columns), 0);
      return contiguous(to.data(), {rows, columns});
    };
    saved.out = inputs.out;
    saved.lse = numbers(lse, {c.batch, c.heads, c.queries}, 0);
    saved.dout = numbers(dout, {c.batch, c.heads, c.queries, c.head_dim}, 0);
    std::mt19937_64 random(1);
    std::normal_distribution<T> normal;
    std::ranges::generate(dout, [&] { return normal(random); });
    gradients.query = numbers(query, {c.batch, c.heads, c.queries, c.head_dim}, 0);
    gradients.key = numbers(key, {c.batch, c.kv_heads, c.keys, c.head_dim}, 0);
    gradients.value = numbers(value, {c.batch, c.kv_heads, c.keys, c.head_dim}, 0);
    if (c.bias) gradients.bias = numbers(bias, {c.batch, c.heads, c.queries, c.keys}, 0);
    if (c.alibi) gradients.alibi_slopes = doubles(slopes, c.batch, c.heads);
    if (c.sinks) {
      sinks.assign(static_cast<std::size_t>(c.heads), 0);
      gradients.sinks = contiguous(sinks.data(), {c.heads});
    }
    if (c.relative) {
      const Array& of = inputs.problem.position_bias->table;
      gradients.position_bias = doubles(table, of.shape[0], of.shape[1]);
    }
  }
  void forward() const { Plan(inputs.problem).run(saved.out, &saved.lse); }
  void backward() const { Plan(inputs.problem).backward(saved, gradients); }
};

struct Measure {
  template <class T>
  Result operator()(const Case& c, const Options& options) const {
    Backward<T> all(c);
    all.inputs.problem.threads = options.threads;
    all.forward();
    const Result alone = time_case(c, options, 2.5 * c.flops(), [&] { all.backward(); });
    Result both = time_case(c, options, 3.5 * c.flops(), [&] {
      all.forward();
      all.backward();
    });
    both.error = all.inputs.error(16);
    std::printf("  backward alone %.4f ms, %.1f %%\n", 1e3 * alone.seconds, alone.percent());
    return both;
  }
};

}  // namespace

int main(int count, char** words) {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return c.queries == 1 || c.stored != DType::float32; });
  cases.push_back({"one-head-8k-d64", 1, 1, 1, 8192, 8192, 64});
  cases.push_back({"one-head-8k-d64-causal", 1, 1, 1, 8192, 8192, 64, false, true});
  cases.push_back({"full-1k-d128", 1, 8, 8, 1024, 1024, 128});
  cases.push_back({"full-4k-d128", 1, 8, 8, 4096, 4096, 128});
  cases.push_back({"causal-4k-d128", 1, 8, 8, 4096, 4096, 128, false, true});
  return run(count, words, cases, Measure());
}
