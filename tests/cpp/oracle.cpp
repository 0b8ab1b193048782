#include "oracle.hpp"

#include <vector>

namespace regard::test {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// One head's rows of an array.
Matrix matrix(const Array& array, const Index& element, std::int64_t head, std::int64_t rows,
              std::int64_t columns) {
  const Plane plane(array, element, head);
  return Matrix::NullaryExpr(rows, columns, [&](Eigen::Index i, Eigen::Index c) {
    return to_double(array.dtype, plane.address(i, c));
  });
}

/// Keys or values as the numbers they stand for.
Matrix stored(const Array& array, const std::optional<Array>& scales, const Index& element,
              std::int64_t head, std::int64_t rows, std::int64_t columns) {
  Matrix numbers = matrix(array, element, head, rows, columns);
  if (!scales) return numbers;
  for (std::int64_t j = 0; j < rows; ++j) {
    numbers.row(j) *= to_double(scales->dtype, address(*scales, joined(element, {head, j})));
  }
  return numbers;
}

}  // namespace

namespace {

template <class T>
void modify(T* scores, std::int64_t count, std::int64_t query, std::int64_t first_key,
            std::int64_t head, std::int64_t, void*) {
  for (std::int64_t n = 0; n < count; ++n) {
    scores[n] = static_cast<T>(modified(scores[n], query, first_key + n, head));
  }
}

}  // namespace

ScoreFunction score_function(DType dtype) {
  const auto address = [](auto* function) { return reinterpret_cast<void (*)()>(function); };
  return {dtype == DType::float64 ? address(&modify<double>) : address(&modify<float>), nullptr,
          nullptr};
}

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
      if (p.window_left) sees &= position - p.window_left->of(head) <= j;
      if (p.window_right) sees &= j <= position + p.window_right->of(head);
      visible(i, j) = sees;
    }
  }
  const auto scores = [&](const Array& array) {
    return matrix(array, element, head, n.queries, n.keys);
  };
  if (p.mask) visible = visible && scores(*p.mask).array() != 0;
  if (p.bias) visible = visible && scores(*p.bias).array() != -kInfinity;
  return visible;
}

Expected attention_oracle(const Problem& p, const Index& element, std::int64_t head) {
  const Sizes n(p);
  const double scale = p.scale ? p.scale->of(head) : 1 / std::sqrt(static_cast<double>(n.head_dim));
  const Matrix Q = matrix(p.query, element, head, n.queries, n.head_dim);
  const std::int64_t kv_head = n.kv_head(head);
  const Matrix K = stored(p.key, p.key_scales, element, kv_head, n.keys, n.head_dim);
  const Matrix V = stored(p.value, p.value_scales, element, kv_head, n.keys, n.value_dim);
  // A score is made of one query and one key alone, so that those which no row sees do no harm.
  Matrix S = scale * (Q * K.transpose());
  Matrix size = std::abs(scale) * (Q.cwiseAbs() * K.cwiseAbs().transpose());
  for (std::int64_t i = 0; i < n.queries && p.query_scale; ++i) {
    const auto factor = load<double>(address(*p.query_scale, joined(element, {head, i})));
    S.row(i) *= factor;
    size.row(i) *= std::abs(factor);
  }
  if (p.score_mod) {
    for_each_index({n.queries, n.keys}, [&](const Index& at) {
      S(at[0], at[1]) = modified(S(at[0], at[1]), at[0], at[1], head);
      size(at[0], at[1]) += 2;
    });
  }
  if (p.bias) {
    const Matrix bias = matrix(*p.bias, element, head, n.queries, n.keys);
    S += bias;
    size += bias.cwiseAbs();
  }
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
    const Eigen::RowVectorXd s = S(i, keys);
    const double m = s.maxCoeff<Eigen::PropagateNaN>();
    const Eigen::RowVectorXd weights = (s.array() - m).exp();
    const double sum = weights.sum();
    Eigen::RowVectorXd o = Eigen::RowVectorXd::Zero(n.value_dim);
    Eigen::Index column = 0;
    for (const std::int64_t j : keys) {
      o += weights[column++] / sum * V.row(j);
      result.size[i] = std::max(result.size[i], size(i, j));
    }
    result.out.row(i) = o;
    result.lse[i] = m + std::log(sum);
  }
  for (std::int64_t j = 0; j < n.keys; ++j) {
    if (!visible.col(j).any()) continue;
    for (const double v : V.row(j)) {
      if (std::isfinite(v)) result.value_size = std::max(result.value_size, std::abs(v));
    }
  }
  return result;
}

}  // namespace regard::test
