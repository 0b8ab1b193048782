// Attention with the installed library: plain memory, then Eigen matrices.
#include <iostream>
#include <regard/attention.hpp>
#include <regard/eigen.hpp>
#include <vector>

int main() {
  // Two heads of three positions with two numbers each.
  const std::vector<float> x = {1, 0, 0, 1, 1, 1, 2, 0, 0, 2, 2, 2};
  std::vector<float> out(x.size());
  regard::Problem problem;
  problem.query = problem.key = problem.value = regard::contiguous(x.data(), {2, 3, 2});
  problem.causal = regard::Causal::lower_right;
  regard::attention(problem, regard::contiguous(out.data(), {2, 3, 2}));

  // The same two heads side by side in one matrix.
  Eigen::MatrixXf X(3, 4);
  X << 1, 0, 2, 0, 0, 1, 0, 2, 1, 1, 2, 2;
  regard::Problem options;
  options.causal = regard::Causal::lower_right;
  const Eigen::MatrixXf O = regard::attention(X, X, X, options, 2);

  using RowMajor = Eigen::Matrix<float, 3, 2, Eigen::RowMajor>;
  const Eigen::Map<const RowMajor> first(out.data()), second(out.data() + 6);
  const bool same = O.leftCols(2).isApprox(first) && O.rightCols(2).isApprox(second) &&
                    first.row(0) == RowMajor::Map(x.data()).row(0);
  std::cout << "regard " << regard::version() << " on " << regard::active_isa() << ":\n"
            << O << "\n";
  return same ? 0 : 1;
}
