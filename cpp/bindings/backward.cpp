#include "backward.hpp"

#include "options.hpp"
#include "regard/attention.hpp"

namespace regard::bindings {

void backward(py::handle query, py::handle key, py::handle value, py::handle options,
              const py::array& out, const py::array& lse, const py::array& dout, py::handle dlse,
              const py::dict& gradients, bool accumulate) {
  Call call;
  read_call(query, key, value, options, call);
  const Plan plan(call.problem);
  Saved saved;
  view(out, saved.out);
  view(lse, saved.lse);
  view(dout, saved.dout);
  if (!dlse.is_none()) view(py::reinterpret_borrow<py::array>(dlse), saved.dlse.emplace());
  Gradients wanted;
  wanted.accumulate = accumulate;
  const auto want = [&](const char* name, std::optional<Array>& array) {
    if (gradients.contains(name)) {
      view(py::reinterpret_borrow<py::array>(gradients[name]), array.emplace());
    }
  };
  want("query", wanted.query);
  want("key", wanted.key);
  want("value", wanted.value);
  want("bias", wanted.bias);
  want("sinks", wanted.sinks);
  want("alibi_slopes", wanted.alibi_slopes);
  want("query_scale", wanted.query_scale);
  want("position_bias", wanted.position_bias);
  call.functions.without_gil([&] { plan.backward(saved, wanted); });
}

py::tuple tangent(py::handle query, py::handle key, py::handle value, py::handle options,
                  py::handle dquery, py::handle dkey, py::handle dvalue) {
  Call call;
  read_call(query, key, value, options, call);
  const Plan plan(call.problem);
  Tangents moves;
  const auto move = [](py::handle given, std::optional<Array>& array) {
    if (!given.is_none()) view(py::reinterpret_borrow<py::array>(given), array.emplace());
  };
  move(dquery, moves.query);
  move(dkey, moves.key);
  move(dvalue, moves.value);
  const py::array& like = call.arrays.front().second;  // the query's type
  const py::array out = empty_like(plan.out_shape(), like);
  const py::array dout = empty_like(plan.out_shape(), like);
  const py::array lse = empty(plan.lse_shape(), plan.compute_dtype());
  const py::array dlse = empty(plan.lse_shape(), plan.compute_dtype());
  TangentOutputs outputs;
  view(out, outputs.out);
  view(dout, outputs.dout);
  view(lse, outputs.lse.emplace());
  view(dlse, outputs.dlse.emplace());
  call.functions.without_gil([&] { plan.tangent(moves, outputs); });
  return py::make_tuple(out, dout, lse, dlse);
}

}  // namespace regard::bindings
