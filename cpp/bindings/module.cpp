// regard._core: the compiled core, called by the Python layer only.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#include "arrays.hpp"
#include "backward.hpp"
#include "dlpack.hpp"
#include "options.hpp"
#include "regard/attention.hpp"
#include "regard/store.hpp"
#include "xla/handlers.hpp"

namespace regard::bindings {
namespace {

/// What `out` must not share memory with.
py::tuple inputs_of(const Call& call) {
  py::list inputs;
  for (const auto& [name, array] : call.arrays) inputs.append(py::make_tuple(name, array));
  return py::tuple(inputs);
}

py::object attention(py::handle query, py::handle key, py::handle value, py::handle options,
                     bool return_lse, py::handle out) {
  Call call;
  read_call(query, key, value, options, call);
  const Plan plan(call.problem);
  py::array result;
  if (out.is_none()) {
    result = empty_like(plan.out_shape(), call.arrays.front().second);  // the query's type
  } else {
    py::module_::import("regard._arrays").attr("check_out")(out, inputs_of(call));
    result = py::reinterpret_borrow<py::array>(out);
  }
  Array out_view;
  view(result, out_view);
  const bool may_raise = !call.functions.empty() && !out.is_none();
  py::array whole;  // what goes into `out` once no function has raised
  if (may_raise) {
    plan.check(out_view);
    whole = empty_like(plan.out_shape(), result);
    view(whole, out_view);
  }
  py::array lse;
  Array lse_view;
  if (return_lse) {
    lse = empty(plan.lse_shape(), plan.compute_dtype());
    view(lse, lse_view);
  }
  call.functions.without_gil([&] { plan.run(out_view, return_lse ? &lse_view : nullptr); });
  if (may_raise) result[py::ellipsis()] = whole;
  if (return_lse) return py::make_tuple(result, lse);
  return result;
}

Pass pass_of(const std::string& run) {
  if (run == "weights") return Pass::weights;
  if (run == "summary") return Pass::summary;
  if (run == "backward") return Pass::backward;
  if (run == "tangent") return Pass::tangent;
  if (run == "forward") return Pass::forward;
  throw ValueError("explain: there is no pass '" + run + "'.");
}

py::dict explain(py::handle query, py::handle key, py::handle value, py::handle options,
                 const std::string& run, std::int64_t top_k) {
  Call call;
  read_call(query, key, value, options, call);
  const Plan plan(call.problem);
  const Explanation how = plan.explain(pass_of(run), top_k);
  py::dict fields;
  fields["isa"] = how.isa;
  fields["dtype"] = name(plan.compute_dtype());
  fields["product_dtype"] = name(how.product_dtype);
  fields["algorithm"] = how.algorithm;
  fields["query_dtype"] = name(plan.query_dtype());
  fields["key_dtype"] = name(plan.key_dtype());
  fields["value_dtype"] = how.reads_value ? name(plan.value_dtype()) : "";
  fields["key_groups"] = how.key_groups;
  fields["batch"] = plan.batch();
  fields["query_heads"] = plan.query_heads();
  fields["kv_heads"] = plan.kv_heads();
  fields["queries"] = plan.queries();
  fields["keys"] = plan.keys();
  fields["head_dim"] = plan.head_dim();
  fields["value_dim"] = how.reads_value ? plan.value_dim() : 0;
  fields["scale"] = plan.scale();
  fields["options"] = plan.options();
  fields["visible_share"] = plan.visible_share();
  fields["query_block"] = how.query_block;
  fields["key_tile"] = how.key_tile;
  fields["heads_a_unit"] = how.heads_a_unit;
  fields["score_mod_calls"] = how.score_mod_calls;
  fields["units"] = how.units;
  fields["threads"] = how.threads;
  fields["scratch_bytes"] = how.scratch_bytes;
  fields["key_in_place"] = how.key_in_place;
  fields["value_in_place"] = how.value_in_place;
  fields["value_in_key"] = how.value_in_key;
  return fields;
}

/// (batch, heads, ...): shapes of what is said about each head.
py::array of_heads(const Plan& plan, std::initializer_list<std::int64_t> last, DType dtype) {
  std::vector<std::int64_t> shape = {plan.batch(), plan.query_heads()};
  shape.insert(shape.end(), last);
  return empty(shape, dtype);
}

py::array weights(py::handle query, py::handle key, py::handle options,
                  const std::vector<std::int64_t>& rows, std::int64_t first_key,
                  std::int64_t last_key, int stage) {
  Call call;
  read_call(query, key, key, options, call);
  const Plan plan(call.problem);
  const auto count = static_cast<std::int64_t>(rows.size());
  const py::array out = of_heads(plan, {count, std::max<std::int64_t>(last_key - first_key, 0)},
                                 plan.compute_dtype());
  Array out_view;
  view(out, out_view);
  call.functions.without_gil(
      [&] { plan.weights(rows, first_key, last_key, out_view, static_cast<Stage>(stage)); });
  return out;
}

py::dict summary(py::handle query, py::handle key, py::handle options, std::int64_t top_k,
                 std::int64_t query_cells, std::int64_t key_cells) {
  Call call;
  read_call(query, key, key, options, call);
  const Plan plan(call.problem);
  const std::int64_t queries = plan.queries();
  query_cells = std::min(query_cells, queries);
  key_cells = std::min(key_cells, plan.keys());
  const py::array lse = of_heads(plan, {queries}, plan.compute_dtype());
  const py::array entropy = of_heads(plan, {queries}, plan.compute_dtype());
  const py::array row_max = of_heads(plan, {queries}, plan.compute_dtype());
  const py::array top_weights = of_heads(plan, {queries, top_k}, plan.compute_dtype());
  const py::array top_keys = of_heads(plan, {queries, top_k}, DType::int64);
  const py::array column_sums = of_heads(plan, {plan.keys()}, DType::float64);
  const py::array pooled = of_heads(plan, {query_cells, key_cells}, DType::float64);
  const auto data = [](const py::array& array) { return const_cast<void*>(array.data()); };
  const Summary summary = {data(lse),
                           data(entropy),
                           data(row_max),
                           data(top_weights),
                           static_cast<std::int64_t*>(data(top_keys)),
                           static_cast<double*>(data(column_sums)),
                           static_cast<double*>(data(pooled)),
                           top_k,
                           query_cells,
                           key_cells};
  call.functions.without_gil([&] { plan.summary(summary); });
  py::dict fields;
  fields["lse"] = lse;
  fields["entropy"] = entropy;
  fields["row_max"] = row_max;
  fields["top_weights"] = top_weights;
  fields["top_indices"] = top_keys;
  fields["column_sums"] = column_sums;
  fields["pooled"] = pooled;
  return fields;
}

void store(const py::array& source, const py::array& target, const py::object& scales) {
  Array from, to, scale;
  view(source, from);
  view(target, to);
  if (!scales.is_none()) view(py::cast<py::array>(scales), scale);
  const py::gil_scoped_release release;
  regard::store(from, to, scales.is_none() ? nullptr : &scale);
}

py::list names(std::span<const std::string_view> list) {
  py::list result;
  for (const std::string_view name : list) result.append(py::str(name.data(), name.size()));
  return result;
}

double ceiling(const std::string& isa, const std::string& dtype, int threads) {
  const std::array known = {DType::float32, DType::float64, DType::bfloat16};
  const auto* of = std::ranges::find_if(known, [&](DType type) { return dtype == name(type); });
  if (of == known.end()) {
    throw ValueError("ceiling: dtype must be 'float32', 'float64' or 'bfloat16', not '" + dtype +
                     "'.");
  }
  const py::gil_scoped_release release;
  return fma_ceiling(isa, *of, threads) / 1e9;
}

double read_bandwidth(std::int64_t bytes, int threads) {
  const py::gil_scoped_release release;
  return regard::read_bandwidth(bytes, threads) / 1e9;
}

py::dict thread_choice() {
  const ThreadChoice found = regard::thread_choice();
  py::dict fields;
  fields["number"] = found.threads;
  fields["reason"] = found.reason;
  fields["set"] = found.set;
  fields["openmp"] = found.openmp;
  fields["thread_limit"] = found.limit;
  fields["cgroup_quota"] = found.quota;
  fields["processors"] = found.processors;
  return fields;
}

/// The handlers that JAX registers, by name; they answer in this version of XLA's interface.
py::dict ffi_targets(int major_version, int minor_version) {
  xla::follow_version(major_version, minor_version);
  const auto capsule = [](xla::Error* (*handler)(xla::CallFrame*)) {
    return py::capsule(reinterpret_cast<void*>(handler), "xla._CUSTOM_CALL_TARGET");
  };
  py::dict targets;
  targets["attention"] = capsule(&xla::attention);
  targets["backward"] = capsule(&xla::backward);
  targets["tangent"] = capsule(&xla::tangent);
  return targets;
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
  m.def("backward", &backward);
  m.def("tangent", &tangent);
  m.def("explain", &explain);
  m.def("weights", &weights);
  m.def("summary", &summary);
  m.def("store", &store);
  m.def("bits_of_bfloat16", &bits_of_bfloat16);
  m.def("compiled_isas", [] { return names(core::compiled_isas()); });
  m.def("available_isas", [] { return names(core::available_isas()); });
  m.def("active_isa", [] { return core::active_isa(); });
  m.def(
      "set_isa", [](const std::string& name) { core::set_isa(name); }, py::arg("name"));
  m.def("ceiling", &ceiling, py::arg("isa"), py::arg("dtype"), py::arg("threads"));
  m.def("read_bandwidth", &read_bandwidth, py::arg("bytes"), py::arg("threads"));
  m.def("ffi_targets", &ffi_targets);
  m.def("build", &build);
  m.def("default_threads", [] { return core::default_thread_count(); });
  m.def("set_num_threads", [](std::optional<std::int64_t> n) { core::set_num_threads(n); });
  m.def("thread_choice", &thread_choice);
  m.def("cgroup_quota", &core::cgroup_quota, py::arg("root"));
  // The floor under any call that takes three arrays; benchmarks subtract it.
  m.def("noop", [](const py::array&, const py::array&, const py::array&) {});
}
