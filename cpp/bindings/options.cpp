#include "options.hpp"

#include <pybind11/stl.h>

#include <string_view>
#include <utility>
#include <vector>

#include "option_list.hpp"

namespace regard::bindings {
namespace {

void keep_view(Call& call, py::handle object, const char* argument, const char* role, Array& seen) {
  call.arrays.emplace_back(argument, as_array(object, argument, role));
  view(call.arrays.back().second, seen);
}

/// The numbers of an array made by regard.BlockMask; kept alive by the call.
template <class T>
std::span<const T> numbers(Call& call, py::handle object) {
  const auto array = py::cast<py::array_t<T, py::array::c_style>>(object);
  call.arrays.emplace_back("mask", array);
  return {array.data(), static_cast<std::size_t>(array.size())};
}

BlockMask tiles_of(Call& call, py::handle mask) {
  BlockMask tiles;
  const auto shape = py::cast<std::vector<std::int64_t>>(mask.attr("shape"));
  tiles.leading.assign(shape.begin(), shape.end() - 2);
  tiles.queries = shape[shape.size() - 2];
  tiles.keys = shape.back();
  tiles.block_size = py::cast<std::int64_t>(mask.attr("block_size"));
  tiles.row_begin = numbers<std::int64_t>(call, mask.attr("indptr"));
  tiles.columns = numbers<std::int32_t>(call, mask.attr("indices"));
  tiles.partial = numbers<std::int32_t>(call, mask.attr("partial"));
  tiles.tiles = numbers<std::uint8_t>(call, mask.attr("tiles"));
  return tiles;
}

/// Reads the entries of the dict by their names. Most calls give one or two of some thirty options,
/// so the entries are listed once: to ask the dict for every name would cost a string each.
class Reader {
 public:
  Reader(py::handle options, Call& call) : call_(call) {
    PyObject *key = nullptr, *value = nullptr;
    given_.reserve(static_cast<std::size_t>(PyDict_GET_SIZE(options.ptr())));
    for (Py_ssize_t place = 0; PyDict_Next(options.ptr(), &place, &key, &value) != 0;) {
      Py_ssize_t size = 0;
      const char* name = PyUnicode_AsUTF8AndSize(key, &size);
      if (name == nullptr) throw py::error_already_set();
      given_.emplace_back(std::string_view(name, static_cast<std::size_t>(size)), value);
    }
  }

  PyObject* find(std::string_view name) const {
    for (const auto& [given, value] : given_) {
      if (given == name) return value;
    }
    return nullptr;
  }

  void array(const char* name, const char* role, std::optional<Array>& to) {
    if (PyObject* given = find(name)) keep_view(call_, given, name, role, to.emplace());
  }

  template <class T, class To>
  void number(const char* name, To& to) {
    if (PyObject* given = find(name)) to = py::cast<T>(py::handle(given));
  }

  /// A number, or a list of one for each head.
  template <class T>
  void per_head(const char* name, std::optional<PerHead<T>>& to) {
    PyObject* given = find(name);
    if (given == nullptr) return;
    if (PyList_Check(given)) {
      to = PerHead<T>(py::cast<std::vector<T>>(py::handle(given)));
    } else {
      to = PerHead<T>(py::cast<T>(py::handle(given)));
    }
  }

  void packed_mask(Problem& p) {
    PyObject* bits = find("packed_mask");
    if (bits == nullptr) return;
    keep_view(call_, bits, "mask", "bits", p.mask.emplace());
    number<std::int64_t>("packed_keys", p.packed_mask_keys);
  }

  void block_mask(Problem& p) {
    if (PyObject* mask = find("block_mask")) p.block_mask = tiles_of(call_, mask);
  }

  /// (address, user data, what keeps them alive), or (None, None, what is called for a tile).
  void function(const char* name, std::optional<ScoreFunction>& to) {
    PyObject* given = find(name);
    if (given == nullptr) return;
    const auto parts = py::cast<py::tuple>(py::handle(given));
    if (parts[0].is_none()) {
      to = call_.functions.add(parts[2]);
    } else {
      const auto address = [&](std::size_t n) { return py::cast<std::uintptr_t>(parts[n]); };
      to = ScoreFunction{reinterpret_cast<void (*)()>(address(0)), nullptr,
                         reinterpret_cast<void*>(address(1))};
    }
  }

  void position_bias(Problem& p) {
    PyObject* bias = find("position_bias");
    if (bias == nullptr) return;
    const auto parts = py::cast<py::tuple>(py::handle(bias));
    PositionBias& table = p.position_bias.emplace();
    keep_view(call_, parts[0], "position_bias", "numbers", table.table);
    table.height = py::cast<std::int64_t>(parts[1]);
    table.width = py::cast<std::int64_t>(parts[2]);
  }

 private:
  Call& call_;
  std::vector<std::pair<std::string_view, PyObject*>> given_;
};

}  // namespace

void read_call(py::handle query, py::handle key, py::handle value, py::handle options, Call& call) {
  Problem& p = call.problem;
  keep_view(call, query, "query", "input", p.query);
  const auto stored = [&](const char* scales) {  // int8 beside float64 is a number of its own
    const bool has = !options.is_none() && PyDict_GetItemString(options.ptr(), scales) != nullptr;
    return has || p.query.dtype != DType::float64 ? "stored" : "input";
  };
  keep_view(call, key, "key", stored("key_scales"), p.key);
  keep_view(call, value, "value", stored("value_scales"), p.value);
  if (options.is_none()) return;
  Reader read(options, call);
  read_options(read, p);
}

}  // namespace regard::bindings
