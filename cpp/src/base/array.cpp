#include "regard/array.hpp"

namespace regard {
namespace {

struct Type {
  const char* name;
  std::size_t size;
};

/// In the order of DType.
constexpr Type kTypes[] = {
    {"bool", 1},    {"int8", 1},    {"int16", 2},   {"int32", 4},       {"int64", 8},
    {"uint8", 1},   {"uint16", 2},  {"uint32", 4},  {"uint64", 8},      {"bfloat16", 2},
    {"float16", 2}, {"float32", 4}, {"float64", 8}, {"unsupported", 0},
};

}  // namespace

const char* name(DType dtype) { return kTypes[static_cast<std::size_t>(dtype)].name; }
std::size_t size(DType dtype) { return kTypes[static_cast<std::size_t>(dtype)].size; }

}  // namespace regard
