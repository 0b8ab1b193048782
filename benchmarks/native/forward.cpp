// Times the forward pass: median time, useful GFLOP/s, per cent of the FMA ceiling measured in the
// same run, and the error of some rows against a double-precision evaluation. Of decode it is GB/s,
// and the ceiling is what reading as many bytes takes.
//
//   cmake --preset benchmark && cmake --build --preset benchmark
//   build/benchmark/benchmarks/native/forward --isa avx2 --threads 1 --filter full --json out.json
#include "program.hpp"

namespace {

using namespace regard;
using namespace regard::benchmark;

struct Forward {
  template <class T>
  Result operator()(const Case& c, const Options& options) const {
    Inputs<T> inputs(c, 20170612);
    inputs.problem.threads = options.threads;
    const double work = c.decodes() ? c.bytes() : c.flops();
    Result result = time_case(c, options, work, [&] { attention(inputs.problem, inputs.out); });
    result.error = inputs.error(16);
    return result;
  }
};

}  // namespace

int main(int count, char** words) { return run(count, words, all_cases(), Forward()); }
