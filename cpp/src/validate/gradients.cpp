// Checks of what the backward pass reads and writes.
#include <algorithm>
#include <string>
#include <vector>

#include "validate/axes.hpp"
#include "validate/validate.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

using Shape = std::vector<std::int64_t>;

void check(const char* argument, const Array& array, DType dtype, const Shape& wanted) {
  const Shown shown = {argument, array, {}};
  if (array.dtype != dtype) {
    throw TypeError(message(
        std::string(argument) + " has dtype " + name(array.dtype) + ", not " + name(dtype) + ".",
        {shown}, std::string("Convert it with astype(np.") + name(dtype) + ")."));
  }
  if (!std::ranges::equal(array.dims(), wanted)) {
    throw ValueError(message(std::string(argument) + " has shape " + tuple(array.dims()) +
                                 " where " + tuple(wanted) + " is needed.",
                             {shown}, "Give an array of exactly that shape."));
  }
}

/// An array of the output's axes (trailing 2) or the LSE's (1).
Operand read_like_output(const char* argument, const Array& array, const CheckedProblem& checked,
                         int trailing) {
  const int rank = checked.out_rank - (trailing == 1 ? 1 : 0);
  check(argument, array, trailing == 1 ? checked.dtype : checked.out_dtype,
        {checked.out_shape.begin(), checked.out_shape.begin() + rank});
  Array full = array;
  if (checked.query_is_vector) insert_axis(full, trailing - 1);
  if (!checked.heads_axis) insert_axis(full, trailing);
  return align(full, checked, trailing);
}

void check_writable(const char* argument, const Array& array) {
  bool apart = array.writable;
  const bool empty = std::ranges::find(array.dims(), 0) != array.dims().end();
  for (int i = 0; i < array.rank && !empty; ++i) {
    const auto at = static_cast<std::size_t>(i);
    apart &= array.shape[at] <= 1 || array.strides[at] != 0;
  }
  if (apart) return;
  throw ValueError(message(std::string(argument) + " cannot be written.", {{argument, array, {}}},
                           "Give an array that is not read-only and no broadcast view."));
}

void check_dense(const char* argument, const Array& array) {
  std::int64_t step = static_cast<std::int64_t>(size(array.dtype));
  bool dense = true;
  for (int i = array.rank; i-- > 0;) {
    const auto axis = static_cast<std::size_t>(i);
    dense &= array.shape[axis] <= 1 || array.strides[axis] == step;
    step *= array.shape[axis];
  }
  if (dense) return;
  throw ValueError(message(std::string(argument) + " is not C-contiguous.", {{argument, array, {}}},
                           "Give an array whose numbers follow each other."));
}

/// An array for an input of some heads and a length: its gradient, which is written, or its move.
Operand like_input(const char* argument, const std::optional<Array>& array,
                   const CheckedProblem& checked, std::int64_t heads, std::int64_t length,
                   std::int64_t dim, bool written) {
  if (!array) return {};
  Shape wanted;
  if (checked.query_starts.empty()) {
    wanted.assign(checked.batch_shape.begin(), checked.batch_shape.begin() + checked.batch_rank);
  }
  wanted.insert(wanted.end(), {heads, length, dim});
  check(argument, *array, checked.dtype, wanted);
  if (written) check_writable(argument, *array);
  Operand operand = align(*array, checked, 2);
  if (!checked.query_starts.empty()) operand.batch_strides[0] = 0;
  return operand;
}

/// (batch elements, heads, queries), or (heads, queries) of packed pieces, in C order.
Operand dense_rows(const Array& array, const CheckedProblem& checked) {
  Operand operand;
  operand.data = static_cast<char*>(array.data);
  operand.row_stride = stride(array, 0);
  operand.head_stride = stride(array, 1);
  operand.batch_strides.fill(0);
  if (array.rank < 3) return operand;
  std::int64_t step = stride(array, 2);
  for (int i = checked.batch_rank; i-- > 0;) {
    const auto axis = static_cast<std::size_t>(i);
    operand.batch_strides[axis] = step;
    step *= checked.batch_shape[axis];
  }
  return operand;
}

std::int64_t packed_length(const std::vector<std::int64_t>& starts, std::int64_t length) {
  return starts.empty() ? length : starts.back();
}

[[noreturn]] void refuse_ungiven(const char* argument) {
  throw ValueError(
      message(std::string("the gradient of ") + argument + " is wanted, and the call has none.", {},
              "Ask for gradients of what is given."));
}

void refuse_kept_keys(const CheckedProblem& checked) {
  const bool scaled = checked.key_scales.data != nullptr || checked.value_scales.data != nullptr;
  if (checked.page_size == 0 && !scaled) return;
  throw ValueError(message(std::string("there are no derivatives with ") +
                               (scaled ? "int8 keys or values." : "a block_table."),
                           {}, "Give key and value as arrays of floats."));
}

void refuse_unknown_slopes(const CheckedProblem& checked) {
  const ScoreFunction& gradient = checked.score_mod_gradient;
  if (!checked.has_score_mod() || gradient.rows != nullptr || gradient.tile != nullptr) return;
  throw ValueError(message("score_mod has no gradient.", {},
                           "Give score_mod_gradient, which multiplies derivatives by its slopes."));
}

}  // namespace

BackwardOperands validate_backward(const Saved& saved, const Gradients& wanted,
                                   const CheckedProblem& checked) {
  refuse_kept_keys(checked);
  refuse_unknown_slopes(checked);
  BackwardOperands b;
  b.out = read_like_output("out", saved.out, checked, 2);
  b.dout = read_like_output("dout", saved.dout, checked, 2);
  b.lse = read_like_output("lse", saved.lse, checked, 1);
  if (saved.dlse) b.dlse = read_like_output("dlse", *saved.dlse, checked, 1);
  const std::int64_t queries = packed_length(checked.query_starts, checked.queries);
  const std::int64_t keys = packed_length(checked.key_starts, checked.keys);
  b.query = like_input("query", wanted.query, checked, checked.query_heads, queries,
                       checked.head_dim, true);
  b.key = like_input("key", wanted.key, checked, checked.kv_heads, keys, checked.head_dim, true);
  b.value =
      like_input("value", wanted.value, checked, checked.kv_heads, keys, checked.value_dim, true);
  if (wanted.bias) {
    if (checked.bias.data == nullptr) refuse_ungiven("bias");
    check("bias", *wanted.bias, checked.dtype, checked.bias_shape);
    check_writable("bias", *wanted.bias);
    b.bias = align(*wanted.bias, checked, 2);
  }
  if (wanted.query_scale) {
    if (checked.query_scale.data == nullptr) refuse_ungiven("query_scale");
    Shape shape = {checked.batch, checked.query_heads, checked.queries};
    if (!checked.query_starts.empty()) shape = {checked.query_heads, queries};
    check("query_scale", *wanted.query_scale, DType::float64, shape);
    check_writable("query_scale", *wanted.query_scale);
    b.query_scale = dense_rows(*wanted.query_scale, checked);
  }
  if (wanted.sinks) {
    if (!checked.sinks_given) refuse_ungiven("sinks");
    check("sinks", *wanted.sinks, DType::float64, {checked.query_heads});
    check_writable("sinks", *wanted.sinks);
    b.sinks.data = static_cast<char*>(wanted.sinks->data);
    b.sinks.column_stride = stride(*wanted.sinks, 0);
  }
  if (wanted.alibi_slopes) {
    if (!checked.alibi_given) refuse_ungiven("alibi_slopes");
    check("alibi_slopes", *wanted.alibi_slopes, DType::float64,
          {checked.batch, checked.query_heads});
    check_writable("alibi_slopes", *wanted.alibi_slopes);
    b.alibi_slopes.data = static_cast<char*>(wanted.alibi_slopes->data);
    b.alibi_slopes.row_stride = stride(*wanted.alibi_slopes, 1);
    b.alibi_slopes.column_stride = stride(*wanted.alibi_slopes, 0);
  }
  if (wanted.position_bias) {
    if (checked.position_bias.table == nullptr) refuse_ungiven("position_bias");
    b.table_heads = checked.position_bias_stride == 0 ? 1 : checked.query_heads;
    b.table_size = checked.position_bias_places();
    check("position_bias", *wanted.position_bias, DType::float64, {b.table_heads, b.table_size});
    check_writable("position_bias", *wanted.position_bias);
    check_dense("position_bias", *wanted.position_bias);
    b.table = static_cast<double*>(wanted.position_bias->data);
  }
  return b;
}

TangentOperands validate_tangent(const Tangents& moves, const TangentOutputs& outputs,
                                 const CheckedProblem& checked) {
  refuse_kept_keys(checked);
  refuse_unknown_slopes(checked);
  TangentOperands t;
  const std::int64_t queries = packed_length(checked.query_starts, checked.queries);
  const std::int64_t keys = packed_length(checked.key_starts, checked.keys);
  t.query = like_input("dquery", moves.query, checked, checked.query_heads, queries,
                       checked.head_dim, false);
  t.key = like_input("dkey", moves.key, checked, checked.kv_heads, keys, checked.head_dim, false);
  t.value =
      like_input("dvalue", moves.value, checked, checked.kv_heads, keys, checked.value_dim, false);
  t.out = validate_output("out", outputs.out, checked, 2);
  t.dout = validate_output("dout", outputs.dout, checked, 2);
  if (outputs.lse) t.lse = validate_output("lse", *outputs.lse, checked, 1);
  if (outputs.dlse) t.dlse = validate_output("dlse", *outputs.dlse, checked, 1);
  return t;
}

}  // namespace regard
