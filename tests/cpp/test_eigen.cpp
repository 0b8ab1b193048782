// regard/eigen.hpp: views of Eigen memory, and attention over matrices.
#include <doctest/doctest.h>

#include "oracle.hpp"
#include "regard/eigen.hpp"

namespace regard::test {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Eigen::MatrixXd;
using Eigen::MatrixXf;

bool same(const Array& array, std::vector<std::int64_t> shape, std::vector<std::int64_t> strides) {
  const auto rank = static_cast<std::size_t>(array.rank);
  return rank == shape.size() && std::equal(shape.begin(), shape.end(), array.shape.begin()) &&
         std::equal(strides.begin(), strides.end(), array.strides.begin());
}

TEST_CASE("views of matrices, maps and blocks") {
  MatrixXf columns(5, 3);
  CHECK(same(view(columns), {5, 3}, {4, 20}));
  CHECK(view(columns).data == columns.data());
  CHECK(view(columns).dtype == DType::float32);
  CHECK(view(columns).writable);

  RowMajor rows(5, 6);
  CHECK(same(view(rows), {5, 6}, {24, 4}));
  CHECK(same(view(rows.block(1, 2, 3, 2)), {3, 2}, {24, 4}));
  CHECK(view(rows.block(1, 2, 3, 2)).data == &rows(1, 2));
  CHECK(view(rows.topRows(2)).writable);
  CHECK(same(view(rows.transpose()), {6, 5}, {4, 24}));
  CHECK(same(view(rows, 2), {2, 5, 3}, {12, 24, 4}));
  CHECK(same(view(columns, 3), {3, 5, 1}, {20, 4, 20}));

  std::vector<double> memory(100);
  using Strided = Eigen::Map<MatrixXd, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  Strided map(memory.data(), 4, 5, {20, 3});
  CHECK(same(view(map), {4, 5}, {24, 160}));
  CHECK(view(map).dtype == DType::float64);

  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> mask(2, 3);
  CHECK(view(mask).dtype == DType::boolean);
}

TEST_CASE("vectors have one axis") {
  Eigen::VectorXf v(6);
  CHECK(same(view(v), {6}, {4}));
  RowMajor m(4, 5);
  CHECK(same(view(m.row(2)), {5}, {4}));
  CHECK(same(view(m.col(2)), {4}, {20}));
}

TEST_CASE("constant memory is read-only") {
  const MatrixXf constant(2, 2);
  MatrixXf writable(2, 2);
  CHECK_FALSE(view(constant).writable);
  CHECK_FALSE(view(constant.topRows(1)).writable);
  CHECK_FALSE(view(std::as_const(writable)).writable);
  Eigen::Map<const MatrixXf> map(constant.data(), 2, 2);
  CHECK_FALSE(view(map).writable);
}

TEST_CASE("columns that do not divide into heads are an error") {
  MatrixXf m(2, 7);
  CHECK_THROWS_WITH_AS(view(m, 3), "view: 7 columns cannot be 3 heads side by side.", ValueError);
  CHECK_THROWS_AS(view(m, 0), ValueError);
}

MatrixXd expected(const MatrixXd& Q, const MatrixXd& K, const MatrixXd& V, bool causal = false) {
  MatrixXd S = Q * K.transpose() / std::sqrt(static_cast<double>(Q.cols()));
  for (Eigen::Index i = 0; i < S.rows(); ++i) {
    for (Eigen::Index j = 0; j < S.cols(); ++j) {
      if (causal && j - i > S.cols() - S.rows()) S(i, j) = -kInfinity;
    }
  }
  const MatrixXd P = (S.colwise() - S.rowwise().maxCoeff()).array().exp();
  return P.rowwise().sum().cwiseInverse().asDiagonal() * (P * V);
}

TEST_CASE("attention over matrices of either storage order, blocks and expressions") {
  const MatrixXd Q = MatrixXd::Random(5, 8), K = MatrixXd::Random(7, 8), V = MatrixXd::Random(7, 3);
  const MatrixXd reference = expected(Q, K, V);
  CHECK(attention(Q, K, V).isApprox(reference, 1e-14));

  const RowMajor q = Q.cast<float>(), k = K.cast<float>(), v = V.cast<float>();
  CHECK(attention(q, k, v).cast<double>().isApprox(reference, 1e-6));

  CHECK(attention(2 * Q, K / 2, V + V).isApprox(2 * reference, 1e-14));
  CHECK(attention(Q.topRows(2), K.topRows(4), V.topRows(4))
            .isApprox(expected(Q.topRows(2), K.topRows(4), V.topRows(4)), 1e-14));
  CHECK(attention(Q.row(1), K, V).isApprox(reference.row(1), 1e-14));
  CHECK(attention(Eigen::Ref<const MatrixXd>(Q), K, V).isApprox(reference, 1e-14));
}

TEST_CASE("heads side by side") {
  const MatrixXd X = MatrixXd::Random(6, 12);
  Problem options;
  options.causal = Causal::lower_right;
  const MatrixXd out = attention(X, X, X, options, 3);
  for (int head = 0; head < 3; ++head) {
    const MatrixXd x = X.middleCols(4 * head, 4);
    CHECK(out.middleCols(4 * head, 4).isApprox(expected(x, x, x, true), 1e-14));
  }
}

TEST_CASE("a result goes where a view says, the LSE too") {
  const MatrixXd Q = MatrixXd::Random(5, 8), K = MatrixXd::Random(7, 8), V = MatrixXd::Random(7, 3);
  MatrixXd all = MatrixXd::Constant(9, 7, 42);
  Eigen::VectorXd lse(5);
  Problem problem;
  problem.query = view(Q);
  problem.key = view(K);
  problem.value = view(V);
  const Array lse_view = view(lse);
  attention(problem, view(all.block(1, 2, 5, 3)), &lse_view);
  CHECK(all.block(1, 2, 5, 3).isApprox(expected(Q, K, V), 1e-14));
  all.block(1, 2, 5, 3).setConstant(42);
  CHECK(all == MatrixXd::Constant(9, 7, 42));
  const Eigen::ArrayXd direct =
      (Q * K.transpose() / std::sqrt(8.0)).array().exp().rowwise().sum().log();
  CHECK(lse.array().isApprox(direct, 1e-14));
}

}  // namespace
}  // namespace regard::test
