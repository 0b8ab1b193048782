// Results against the oracle: every ISA of this machine, both types, shapes round tile edges.
#include <doctest/doctest.h>

#include "problems.hpp"

namespace regard::test {
namespace {

void random_problems(DType dtype) {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(2017);
    double worst = 0;
    for (int i = 0; i < sample(150); ++i) {
      Case c(draw_spec(random, dtype, Layout::contiguous), random());
      c.run();
      worst = std::max(worst, c.check());
    }
    MESSAGE(std::string(isa) << " " << std::string(name(dtype)) << ": largest error " << worst
                             << " of its bound");
  }
}

TEST_CASE("random problems, float32") { random_problems(DType::float32); }
TEST_CASE("random problems, float64") { random_problems(DType::float64); }

TEST_CASE("units of several panels of queries") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64}) {
      for (const std::int64_t queries : {25, 49, 97, 110, 145, 190, 193, 200}) {
        Spec spec;
        spec.dtype = dtype;
        spec.kv_heads = 16;
        spec.queries = queries;
        spec.keys = 150;
        spec.head_dim = 5;
        spec.value_dim = 9;
        spec.causal = queries % 2 == 0 ? Causal::lower_right : Causal::none;
        Case c(spec, static_cast<std::uint64_t>(queries));
        c.problem().threads = 1;
        c.run();
        c.check();
      }
    }
  }
}

TEST_CASE("every row count up to two blocks, every key count up to two tiles") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const DType dtype : {DType::float32, DType::float64}) {
      for (std::int64_t n = 1; n <= 130; ++n) {
        Spec spec;
        spec.dtype = dtype;
        spec.queries = n % 98 + 1;
        spec.keys = n;
        spec.head_dim = n % 19 + 1;
        spec.value_dim = n % 37 + 1;
        spec.causal = n % 3 == 0 ? Causal::lower_right : Causal::none;
        Case c(spec, static_cast<std::uint64_t>(n));
        c.run();
        c.check();
      }
    }
  }
}

/// Root mean square of the difference from the oracle, of the library and of a plain evaluation in
/// float that keeps every score.
struct Errors {
  double library, plain;
};

Errors float_errors(std::int64_t length, std::int64_t dim, Random& random) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  std::normal_distribution<float> normal;
  const auto draw = [&] { return normal(random); };
  const Matrix Q = Matrix::NullaryExpr(length, dim, draw),
               K = Matrix::NullaryExpr(length, dim, draw),
               V = Matrix::NullaryExpr(length, dim, draw);
  Matrix out(length, dim);
  Problem problem;
  problem.query = contiguous(Q.data(), {1, length, dim});
  problem.key = contiguous(K.data(), {1, length, dim});
  problem.value = contiguous(V.data(), {1, length, dim});
  attention(problem, contiguous(out.data(), {1, length, dim}));

  Matrix S = Q * K.transpose() / std::sqrt(static_cast<float>(dim));
  S = (S.colwise() - S.rowwise().maxCoeff()).array().exp();
  const Matrix plain = S.rowwise().sum().cwiseInverse().asDiagonal() * (S * V);

  const Eigen::MatrixXd expected = attention_oracle(problem, {}, 0).out;
  return {(out.cast<double>() - expected).norm(), (plain.cast<double>() - expected).norm()};
}

TEST_CASE("no less exact than a plain evaluation in float") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    Random random(7);
    for (const auto& [length, dim] : {std::pair{64, 64}, {300, 64}, {257, 128}}) {
      const Errors errors = float_errors(length, dim, random);
      INFO(std::string(isa) << " " << length << "x" << dim << ": " << errors.library << " vs "
                            << errors.plain);
      CHECK(errors.library <= 1.5 * errors.plain);
    }
  }
}

TEST_CASE("scores of 1e4 neither overflow nor lose the largest") {
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    for (const float size : {1e4f, -1e4f}) {
      // Scores 0, size, 2 size: all the weight is on one key, far from the first in exponent.
      const std::vector<float> query = {size}, key = {0, 1, 2}, value = {3, 5, 7};
      float out = 0, lse = 0;
      Problem problem;
      problem.query = contiguous(query.data(), {1, 1});
      problem.key = contiguous(key.data(), {3, 1});
      problem.value = contiguous(value.data(), {3, 1});
      problem.scale = 1;
      const Array lse_view = contiguous(&lse, {1});
      attention(problem, contiguous(&out, {1, 1}), &lse_view);
      CHECK(out == doctest::Approx(size > 0 ? 7 : 3));
      CHECK(lse == doctest::Approx(size > 0 ? 2e4 : 0));
    }
  }
}

TEST_CASE("the example of four words") {
  // Vectors (1,0) (0,1) (1,1) (0,0), unscaled: the last row attends to all words alike.
  const std::vector<double> x = {1, 0, 0, 1, 1, 1, 0, 0};
  std::vector<double> out(8);
  Problem problem;
  problem.query = problem.key = problem.value = contiguous(x.data(), {4, 2});
  problem.scale = 1;
  for (const std::string_view isa : available_isas()) {
    const UseIsa use(isa);
    attention(problem, contiguous(out.data(), {4, 2}));
    const double e = std::exp(1.0);
    CHECK(out[0] == doctest::Approx(2 * e / (2 * e + 2)));
    CHECK(out[1] == doctest::Approx((1 + e) / (2 * e + 2)));
    CHECK(out[6] == doctest::Approx(0.5));
    CHECK(out[7] == doctest::Approx(0.5));
  }
}

}  // namespace
}  // namespace regard::test
