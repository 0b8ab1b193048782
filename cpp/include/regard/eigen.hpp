// Attention over Eigen matrices: an optional layer of views, header-only. It needs Eigen 3.3 or
// later; the rest of regard does not.
//
//   #include <regard/eigen.hpp>
//
//   Eigen::MatrixXf Q(5, 64), K(7, 64), V(7, 32);    // a row is a position
//   Eigen::MatrixXf O = regard::attention(Q, K, V);  // one head, (5, 32)
//
//   regard::Problem options;                         // causal, scale, mask, ...: as for any call
//   options.causal = regard::Causal::lower_right;
//   Eigen::MatrixXf X = ..., W = ...;                // (length, 12 * 64) projections of 12 heads
//   O = regard::attention(X * Wq, X * Wk, X * Wv, options, 12);  // heads side by side again
//
// With view() Eigen memory goes into a Problem, or takes a result, without a copy:
//
//   options.query = regard::view(X, 12);             // (12, length, 64)
//   ...
//   regard::attention(options, regard::view(O, 12));
#pragma once

#include <Eigen/Core>
#include <type_traits>

#include "regard/attention.hpp"

namespace regard {
namespace detail {

template <class Derived>
inline constexpr bool kInMemory = (Derived::Flags & Eigen::DirectAccessBit) != 0;

/// `x` itself where it lies in memory, otherwise what it evaluates to.
template <class Derived>
decltype(auto) in_memory(const Eigen::DenseBase<Derived>& x) {
  if constexpr (kInMemory<Derived>) {
    return (x.derived());
  } else {
    return typename Derived::PlainObject(x.derived());
  }
}

/// Pointer, type and access; `X` may be a const or a reference type, the axes are pushed after.
template <class X>
Array eigen_memory(const std::remove_cvref_t<X>& x) {
  using Matrix = std::remove_cvref_t<X>;
  using Scalar = typename Matrix::Scalar;
  static_assert(kInMemory<Matrix>, "regard::view: evaluate the expression into a matrix first.");
  // A block is a temporary whose memory is not; a matrix takes its memory along.
  static_assert(
      std::is_lvalue_reference_v<X> || !std::is_base_of_v<Eigen::PlainObjectBase<Matrix>, Matrix>,
      "regard::view: the matrix is gone before the view is used.");
  Array array;
  array.data = const_cast<Scalar*>(x.data());
  array.dtype = dtype_of<Scalar>();
  array.writable =
      !std::is_const_v<std::remove_reference_t<X>> && (Matrix::Flags & Eigen::LvalueBit) != 0;
  array.rank = 0;
  return array;
}

template <class Scalar>
void push_axis(Array& array, std::int64_t extent, std::int64_t stride) {
  array.shape[static_cast<std::size_t>(array.rank)] = extent;
  array.strides[static_cast<std::size_t>(array.rank)] = stride * std::int64_t{sizeof(Scalar)};
  ++array.rank;
}

}  // namespace detail

template <class X>
concept EigenObject = requires(X x) { x.derived().rows(); };

/// The memory of a matrix, array, map, reference or block as a (length, dim) array, whatever its
/// storage order and strides; of a vector type as a (size,) array. Constant ones are read-only.
/// The array is valid as long as the memory is; an expression that has none does not compile.
template <EigenObject X>
Array view(X&& x) {
  using Matrix = std::remove_cvref_t<X>;
  using Scalar = typename Matrix::Scalar;
  Array array = detail::eigen_memory<X>(x);
  if constexpr (Matrix::IsVectorAtCompileTime) {
    detail::push_axis<Scalar>(array, x.size(), x.innerStride());
  } else {
    detail::push_axis<Scalar>(array, x.rows(), x.rowStride());
    detail::push_axis<Scalar>(array, x.cols(), x.colStride());
  }
  return array;
}

/// A (length, heads * dim) matrix with its heads side by side as a (heads, length, dim) array.
/// @throws ValueError when the columns do not divide into that many heads.
template <EigenObject X>
Array view(X&& x, std::int64_t heads) {
  using Scalar = typename std::remove_cvref_t<X>::Scalar;
  if (heads < 1 || x.cols() % heads != 0) {
    throw ValueError("view: " + std::to_string(x.cols()) + " columns cannot be " +
                     std::to_string(heads) + " heads side by side.");
  }
  const std::int64_t dim = x.cols() / heads;
  Array array = detail::eigen_memory<X>(x);
  detail::push_axis<Scalar>(array, heads, dim * x.colStride());
  detail::push_axis<Scalar>(array, x.rows(), x.rowStride());
  detail::push_axis<Scalar>(array, dim, x.colStride());
  return array;
}

/// Attention over matrices of `heads` heads side by side: query (queries, heads * head_dim), key
/// (keys, heads * head_dim), value (keys, heads * value_dim), gives (queries, heads * value_dim).
/// Expressions are evaluated; what lies in memory is read in place. The arrays that `options`
/// brings for query, key and value are not looked at.
/// @throws ValueError, TypeError as regard::attention(Problem) does.
template <class Query, class Key, class Value>
auto attention(const Eigen::MatrixBase<Query>& query, const Eigen::MatrixBase<Key>& key,
               const Eigen::MatrixBase<Value>& value, Problem options = {},
               std::int64_t heads = 1) {
  const auto& q = detail::in_memory(query);
  const auto& k = detail::in_memory(key);
  const auto& v = detail::in_memory(value);
  options.query = view(q, heads);
  options.key = view(k, heads);
  options.value = view(v, heads);
  Eigen::Matrix<typename Query::Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> out(
      q.rows(), v.cols());
  attention(options, view(out, heads));
  return out;
}

}  // namespace regard
