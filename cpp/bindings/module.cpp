// regard._core: the compiled core, called by the Python layer only.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "regard/attention.hpp"

namespace regard::bindings {
namespace {

/// The arrays of a call, kept alive while the problem points into them.
struct Call {
  py::array query, key, value;
  std::optional<py::array> mask, bias, key_lengths;
  Problem problem;
};

std::optional<Array> optional_view(std::optional<py::array>& keep, py::handle object,
                                   const char* argument, const char* role) {
  if (object.is_none()) return std::nullopt;
  keep = as_array(object, argument, role);
  Array seen;
  view(*keep, seen);
  return seen;
}

Call make_call(py::handle query, py::handle key, py::handle value, int causal,
               std::optional<std::int64_t> window_left, std::optional<std::int64_t> window_right,
               py::handle mask, py::handle bias, py::handle key_lengths,
               std::optional<double> scale, std::optional<std::int64_t> num_threads) {
  Call call{as_array(query, "query", "input"),
            as_array(key, "key", "input"),
            as_array(value, "value", "input"),
            {},
            {},
            {},
            {}};
  Problem& problem = call.problem;
  view(call.query, problem.query);
  view(call.key, problem.key);
  view(call.value, problem.value);
  problem.mask = optional_view(call.mask, mask, "mask", "mask");
  problem.bias = optional_view(call.bias, bias, "bias", "bias");
  problem.key_lengths = optional_view(call.key_lengths, key_lengths, "key_lengths", "lengths");
  problem.causal = static_cast<Causal>(causal);
  problem.window_left = window_left;
  problem.window_right = window_right;
  problem.scale = scale;
  problem.threads = num_threads;
  return call;
}

/// What `out` must not share memory with.
py::tuple inputs_of(const Call& call) {
  py::list inputs;
  for (const auto& [name, array] :
       {std::pair{"query", &call.query}, {"key", &call.key}, {"value", &call.value}}) {
    inputs.append(py::make_tuple(name, *array));
  }
  if (call.mask) inputs.append(py::make_tuple("mask", *call.mask));
  if (call.bias) inputs.append(py::make_tuple("bias", *call.bias));
  if (call.key_lengths) inputs.append(py::make_tuple("key_lengths", *call.key_lengths));
  return py::tuple(inputs);
}

py::object attention(py::handle query, py::handle key, py::handle value, int causal,
                     std::optional<std::int64_t> window_left,
                     std::optional<std::int64_t> window_right, py::handle mask, py::handle bias,
                     py::handle key_lengths, std::optional<double> scale, bool return_lse,
                     py::handle out, std::optional<std::int64_t> num_threads) {
  const Call call = make_call(query, key, value, causal, window_left, window_right, mask, bias,
                              key_lengths, scale, num_threads);
  const Plan plan(call.problem);
  py::array result;
  if (out.is_none()) {
    result = empty(plan.out_shape(), plan.dtype());
  } else {
    py::module_::import("regard._arrays").attr("check_out")(out, inputs_of(call));
    result = py::reinterpret_borrow<py::array>(out);
  }
  Array out_view;
  view(result, out_view);
  py::array lse;
  Array lse_view;
  if (return_lse) {
    lse = empty(plan.lse_shape(), plan.dtype());
    view(lse, lse_view);
  }
  {
    const py::gil_scoped_release release;
    plan.run(out_view, return_lse ? &lse_view : nullptr);
  }
  if (return_lse) return py::make_tuple(result, lse);
  return result;
}

py::dict explain(py::handle query, py::handle key, py::handle value, int causal,
                 std::optional<std::int64_t> window_left, std::optional<std::int64_t> window_right,
                 py::handle mask, py::handle bias, py::handle key_lengths,
                 std::optional<double> scale, std::optional<std::int64_t> num_threads) {
  const Call call = make_call(query, key, value, causal, window_left, window_right, mask, bias,
                              key_lengths, scale, num_threads);
  const Plan plan(call.problem);
  py::dict fields;
  fields["isa"] = plan.isa();
  fields["dtype"] = name(plan.dtype());
  fields["batch"] = plan.batch();
  fields["query_heads"] = plan.query_heads();
  fields["kv_heads"] = plan.kv_heads();
  fields["queries"] = plan.queries();
  fields["keys"] = plan.keys();
  fields["head_dim"] = plan.head_dim();
  fields["value_dim"] = plan.value_dim();
  fields["scale"] = plan.scale();
  fields["visible_share"] = plan.visible_share();
  fields["query_block"] = plan.query_block();
  fields["key_tile"] = plan.key_tile();
  fields["units"] = plan.units();
  fields["threads"] = plan.threads();
  fields["scratch_bytes"] = plan.scratch_bytes();
  fields["key_in_place"] = plan.key_in_place();
  fields["value_in_place"] = plan.value_in_place();
  return fields;
}

py::list names(std::span<const std::string_view> list) {
  py::list result;
  for (const std::string_view name : list) result.append(py::str(name.data(), name.size()));
  return result;
}

double ceiling(const std::string& isa, const std::string& dtype, int threads) {
  if (dtype != "float32" && dtype != "float64") {
    throw ValueError("ceiling: dtype must be 'float32' or 'float64', not '" + dtype + "'.");
  }
  const py::gil_scoped_release release;
  return fma_ceiling(isa, dtype == "float64", threads) / 1e9;
}

py::dict build() {
  py::dict fields;
  fields["version"] = version();
  fields["compiler"] = compiler();
  fields["openmp"] = openmp_runtime();
  fields["openmp_version"] = openmp_version();
  return fields;
}

}  // namespace
}  // namespace regard::bindings

namespace py = pybind11;

PYBIND11_MODULE(_core, m, py::mod_gil_not_used(),
                py::multiple_interpreters::per_interpreter_gil()) {
  using namespace regard::bindings;
  namespace core = regard;
  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const core::TypeError& e) {
      py::set_error(PyExc_TypeError, e.what());
    } catch (const core::ValueError& e) {
      py::set_error(PyExc_ValueError, e.what());
    }
  });
  core::active_isa();  // a bad REGARD_ISA fails the import, not some later call

  m.def("attention", &attention);
  m.def("explain", &explain);
  m.def("compiled_isas", [] { return names(core::compiled_isas()); });
  m.def("available_isas", [] { return names(core::available_isas()); });
  m.def("active_isa", [] { return core::active_isa(); });
  m.def(
      "set_isa", [](const std::string& name) { core::set_isa(name); }, py::arg("name"));
  m.def("ceiling", &ceiling, py::arg("isa"), py::arg("dtype"), py::arg("threads"));
  m.def("build", &build);
  m.def("default_threads", [] { return core::default_thread_count(); });
  // The floor under any call that takes three arrays; benchmarks subtract it.
  m.def("noop", [](const py::array&, const py::array&, const py::array&) {});
}
