// Values that are columns of the keys: the same numbers as values of their own, for any number of
// threads.
#include <doctest/doctest.h>

#include <algorithm>

#include "problems.hpp"

namespace regard::test {
namespace {

Spec latent_spec(DType dtype, std::int64_t queries) {
  Spec spec;
  spec.dtype = dtype;
  spec.batch = {2};
  spec.group = 24;
  spec.queries = queries;
  spec.keys = 1100;
  spec.head_dim = 40;
  spec.value_dim = 24;
  spec.causal = Causal::lower_right;
  return spec;
}

/// Makes the values of a case the first columns of its keys.
void share(Case& c, std::int64_t value_dim) {
  Problem& problem = c.problem();
  problem.value = problem.key;
  problem.value.shape[static_cast<std::size_t>(problem.value.rank - 1)] = value_dim;
}

TEST_CASE("latent rows are read for keys and values") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16}) {
      for (const std::int64_t queries : {2, 5}) {
        std::vector<std::uint8_t> out, lse;
        for (const std::int64_t threads : {1, 2, 3, 7}) {
          Case c(latent_spec(dtype, queries), 5);
          CHECK(!Plan(c.problem()).explain().value_in_key);
          share(c, 24);
          c.problem().threads = threads;
          const Explanation told = Plan(c.problem()).explain();
          CHECK(told.value_in_key);
          CHECK(told.key_groups == 3);
          CHECK(told.threads == std::min(threads, told.units));
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
}

}  // namespace
}  // namespace regard::test
