#include "base/message.hpp"

#include <algorithm>
#include <vector>

namespace regard {
namespace {

/// "(batch=2, heads=8, length=512, head_dim=64)"; axes before the named ones are the batch.
std::string named_tuple(const Shown& shown) {
  const auto dims = shown.array.dims();
  const std::size_t rank = dims.size(), named = std::min(rank, shown.axes.size());
  std::string text = "(";
  if (rank > named) {
    text += "batch=";
    for (std::size_t axis = 0; axis < rank - named; ++axis) {
      text += (axis ? "x" : "") + std::to_string(dims[axis]);
    }
  }
  for (std::size_t i = 0; i < named; ++i) {
    text += text.size() > 1 ? ", " : "";
    text += shown.axes[shown.axes.size() - named + i];
    text += "=" + std::to_string(dims[rank - named + i]);
  }
  return text + ")";
}

}  // namespace

std::string tuple(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    text += (axis ? ", " : "") + std::to_string(shape[axis]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::string message(const std::string& problem, std::initializer_list<Shown> arrays,
                    const std::string& advice) {
  std::size_t name_width = 0, shape_width = 0;
  std::vector<std::string> shapes;
  for (const Shown& shown : arrays) {
    shapes.push_back(named_tuple(shown));
    name_width = std::max(name_width, std::string(shown.name).size());
    shape_width = std::max(shape_width, shapes.back().size());
  }
  std::string text = "attention: " + problem;
  std::size_t row = 0;
  for (const Shown& shown : arrays) {
    const std::string label = shown.name, &shape = shapes[row++];
    text += "\n  " + label + std::string(name_width - label.size() + 2, ' ');
    text += shape + std::string(shape_width - shape.size() + 1, ' ') + name(shown.array.dtype);
  }
  return text + "\n  " + advice;
}

}  // namespace regard
