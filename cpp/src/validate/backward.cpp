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
Operand read_like_output(const char* argument, const Array& array, const Geometry& g,
                         int trailing) {
  const int rank = g.out_rank - (trailing == 1 ? 1 : 0);
  check(argument, array, trailing == 1 ? g.dtype : g.out_dtype,
        {g.out_shape.begin(), g.out_shape.begin() + rank});
  Array full = array;
  if (g.query_is_vector) insert_axis(full, trailing - 1);
  if (!g.heads_axis) insert_axis(full, trailing);
  return align(full, g, trailing);
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

/// An array for an input of some heads and a length: its gradient, which is written, or its move.
Operand like_input(const char* argument, const std::optional<Array>& array, const Geometry& g,
                   std::int64_t heads, std::int64_t length, std::int64_t dim, bool written) {
  if (!array) return {};
  Shape wanted;
  if (g.query_starts.empty()) {
    wanted.assign(g.batch_shape.begin(), g.batch_shape.begin() + g.batch_rank);
  }
  wanted.insert(wanted.end(), {heads, length, dim});
  check(argument, *array, g.dtype, wanted);
  if (written) check_writable(argument, *array);
  Operand operand = align(*array, g, 2);
  if (!g.query_starts.empty()) operand.batch_strides[0] = 0;
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

void refuse_kept_keys(const Geometry& g) {
  const bool scaled = g.key_scales.data != nullptr || g.value_scales.data != nullptr;
  if (g.page_size == 0 && !scaled) return;
  throw ValueError(message(std::string("there are no derivatives with ") +
                               (scaled ? "int8 keys or values." : "a block_table."),
                           {}, "Give key and value as arrays of floats."));
}

}  // namespace

BackwardOperands validate_backward(const Saved& saved, const Gradients& wanted, const Geometry& g) {
  refuse_kept_keys(g);
  BackwardOperands b;
  b.out = read_like_output("out", saved.out, g, 2);
  b.dout = read_like_output("dout", saved.dout, g, 2);
  b.lse = read_like_output("lse", saved.lse, g, 1);
  if (saved.dlse) b.dlse = read_like_output("dlse", *saved.dlse, g, 1);
  const std::int64_t queries = packed_length(g.query_starts, g.queries);
  const std::int64_t keys = packed_length(g.key_starts, g.keys);
  b.query = like_input("query", wanted.query, g, g.query_heads, queries, g.head_dim, true);
  b.key = like_input("key", wanted.key, g, g.kv_heads, keys, g.head_dim, true);
  b.value = like_input("value", wanted.value, g, g.kv_heads, keys, g.value_dim, true);
  if (wanted.bias) {
    if (g.bias.data == nullptr) refuse_ungiven("bias");
    check("bias", *wanted.bias, g.dtype, g.bias_shape);
    check_writable("bias", *wanted.bias);
    b.bias = align(*wanted.bias, g, 2);
  }
  if (wanted.sinks) {
    if (g.sinks.empty()) refuse_ungiven("sinks");
    check("sinks", *wanted.sinks, DType::float64, {g.query_heads});
    check_writable("sinks", *wanted.sinks);
    b.sinks.data = static_cast<char*>(wanted.sinks->data);
    b.sinks.column_stride = stride(*wanted.sinks, 0);
  }
  if (wanted.alibi_slopes) {
    if (g.alibi.empty()) refuse_ungiven("alibi_slopes");
    check("alibi_slopes", *wanted.alibi_slopes, DType::float64, {g.batch, g.query_heads});
    check_writable("alibi_slopes", *wanted.alibi_slopes);
    b.alibi_slopes.data = static_cast<char*>(wanted.alibi_slopes->data);
    b.alibi_slopes.row_stride = stride(*wanted.alibi_slopes, 1);
    b.alibi_slopes.column_stride = stride(*wanted.alibi_slopes, 0);
  }
  if (wanted.position_bias) {
    const kernels::PositionBias& bias = g.position_bias;
    if (bias.table == nullptr) refuse_ungiven("position_bias");
    b.table_heads = g.position_bias_stride == 0 ? 1 : g.query_heads;
    b.table_size =
        bias.width > 0 ? (2 * bias.height - 1) * (2 * bias.width - 1) : 2 * bias.reach + 1;
    check("position_bias", *wanted.position_bias, DType::float64, {b.table_heads, b.table_size});
    check_writable("position_bias", *wanted.position_bias);
    b.table = static_cast<double*>(wanted.position_bias->data);
  }
  return b;
}

TangentOperands validate_tangent(const Tangents& moves, const TangentOutputs& outputs,
                                 const Geometry& g) {
  refuse_kept_keys(g);
  TangentOperands t;
  const std::int64_t queries = packed_length(g.query_starts, g.queries);
  const std::int64_t keys = packed_length(g.key_starts, g.keys);
  t.query = like_input("dquery", moves.query, g, g.query_heads, queries, g.head_dim, false);
  t.key = like_input("dkey", moves.key, g, g.kv_heads, keys, g.head_dim, false);
  t.value = like_input("dvalue", moves.value, g, g.kv_heads, keys, g.value_dim, false);
  t.out = validate_output("out", outputs.out, g, 2);
  t.dout = validate_output("dout", outputs.dout, g, 2);
  if (outputs.lse) t.lse = validate_output("lse", *outputs.lse, g, 1);
  if (outputs.dlse) t.dlse = validate_output("dlse", *outputs.dlse, g, 1);
  return t;
}

}  // namespace regard
