#include "oracle.hpp"

#include <vector>

namespace regard::test {
namespace {

/// One head's rows of an array as a matrix.
Eigen::MatrixXd matrix(const Array& array, const Index& element, std::int64_t head,
                       std::int64_t rows, std::int64_t columns) {
  Eigen::MatrixXd m(rows, columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < columns; ++c) {
      m(i, c) = to_double(array.dtype, address(array, joined(element, {head, i, c})));
    }
  }
  return m;
}

}  // namespace

Sizes::Sizes(const Problem& p) {
  const auto axis = [](const Array& a, int from_end) {
    return from_end < a.rank ? a.shape[static_cast<std::size_t>(a.rank - 1 - from_end)] : 1;
  };
  const int rank = std::max({p.query.rank, p.key.rank, p.value.rank, 3});
  for (int i = rank - 1; i >= 3; --i) {
    std::int64_t size = 1;
    for (const Array* a : {&p.query, &p.key, &p.value}) {
      if (axis(*a, i) != 1) size = axis(*a, i);
    }
    batch.push_back(size);
  }
  query_heads = axis(p.query, 2);
  kv_heads = axis(p.key, 2);
  queries = axis(p.query, 1);
  keys = axis(p.key, 1);
  head_dim = axis(p.query, 0);
  value_dim = axis(p.value, 0);
}

Index joined(const Index& element, std::initializer_list<std::int64_t> last) {
  Index index = element;
  index.insert(index.end(), last);
  return index;
}

Visible visible_keys(const Problem& p, const Index& element, std::int64_t head) {
  const Sizes n(p);
  std::int64_t length = n.keys;
  if (p.key_lengths) length = load<std::int64_t>(address(*p.key_lengths, element));
  const std::int64_t offset = p.causal == Causal::upper_left ? 0 : length - n.queries;
  Visible visible(n.queries, n.keys);
  for (std::int64_t i = 0; i < n.queries; ++i) {
    for (std::int64_t j = 0; j < n.keys; ++j) {
      const std::int64_t position = i + offset;
      bool sees = j < length;
      if (p.causal != Causal::none) sees &= j <= position;
      if (p.window_left) sees &= position - *p.window_left <= j;
      if (p.window_right) sees &= j <= position + *p.window_right;
      const Index at = joined(element, {head, i, j});
      if (p.mask) sees &= load<std::uint8_t>(address(*p.mask, at)) != 0;
      if (p.bias) sees &= to_double(p.bias->dtype, address(*p.bias, at)) != -kInfinity;
      visible(i, j) = sees;
    }
  }
  return visible;
}

Expected attention_oracle(const Problem& p, const Index& element, std::int64_t head) {
  const Sizes n(p);
  const double scale = p.scale.value_or(1 / std::sqrt(static_cast<double>(n.head_dim)));
  const auto Q = matrix(p.query, element, head, n.queries, n.head_dim);
  const auto K = matrix(p.key, element, n.kv_head(head), n.keys, n.head_dim);
  const auto V = matrix(p.value, element, n.kv_head(head), n.keys, n.value_dim);
  const Visible visible = visible_keys(p, element, head);
  Expected result{Eigen::MatrixXd::Zero(n.queries, n.value_dim),
                  Eigen::VectorXd::Constant(n.queries, -kInfinity),
                  Eigen::VectorXd::Zero(n.queries), 0};
  for (std::int64_t i = 0; i < n.queries; ++i) {
    std::vector<std::int64_t> keys;  // those that row i sees: nothing else is looked at
    for (std::int64_t j = 0; j < n.keys; ++j) {
      if (visible(i, j)) keys.push_back(j);
    }
    if (keys.empty()) continue;
    Eigen::VectorXd s(static_cast<Eigen::Index>(keys.size()));
    Eigen::Index row = 0;
    for (const std::int64_t j : keys) {
      double bias = 0;
      if (p.bias) bias = to_double(p.bias->dtype, address(*p.bias, joined(element, {head, i, j})));
      s[row++] = scale * Q.row(i).dot(K.row(j)) + bias;
      const double size = std::abs(scale) * Q.row(i).cwiseAbs().dot(K.row(j).cwiseAbs());
      result.size[i] = std::max(result.size[i], size + std::abs(bias));
    }
    const double m = s.maxCoeff<Eigen::PropagateNaN>();
    const Eigen::VectorXd weights = (s.array() - m).exp();
    const double sum = weights.sum();
    result.lse[i] = m + std::log(sum);
    row = 0;
    for (const std::int64_t j : keys) {
      result.out.row(i) += weights[row++] / sum * V.row(j);
      for (const double v : V.row(j)) {
        if (std::isfinite(v)) result.value_size = std::max(result.value_size, std::abs(v));
      }
    }
  }
  return result;
}

}  // namespace regard::test
