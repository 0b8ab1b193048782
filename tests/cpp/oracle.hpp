// Attention by its definition, in double precision with every score in memory: what the kernels
// are held against. Written to be read, and independent of the library beyond its plain structs.
#pragma once

#include <Eigen/Core>
#include <limits>

#include "arrays.hpp"
#include "regard/attention.hpp"

namespace regard::test {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The sizes of a problem, read off its arrays.
struct Sizes {
  Index batch;
  std::int64_t query_heads, kv_heads, queries, keys, head_dim, value_dim;

  explicit Sizes(const Problem& p);
  std::int64_t kv_head(std::int64_t head) const { return head / (query_heads / kv_heads); }
};

/// What a score becomes by `score_function`, the score_mod of the tests; nowhere steeper than 1.
inline double modified(double s, std::int64_t query, std::int64_t key, std::int64_t head) {
  return s / 2 + static_cast<double>((query + 3 * key + 5 * head) % 7) / 4;
}
ScoreFunction score_function(DType dtype);

/// visible(i, j): query i of this head may see key j.
using Visible = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;
Visible visible_keys(const Problem& p, const Index& element, std::int64_t head);

/// One head's result, and how large the numbers were that it was made of.
struct Expected {
  Eigen::MatrixXd out;   ///< (queries, value_dim)
  Eigen::VectorXd lse;   ///< (queries)
  Eigen::VectorXd size;  ///< of the scores of a row: max over the keys of sum |q k| scale + |bias|
  double value_size;     ///< largest |v| that any row sees
};

Expected attention_oracle(const Problem& p, const Index& element, std::int64_t head);

}  // namespace regard::test
