#include "xla/call.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "option_list.hpp"

namespace regard::xla {
namespace {

/// By the numbers of xla::PrimitiveType (xla_data.proto).
DType dtype_of(int type) {
  switch (type) {
    case 1: return DType::boolean;
    case 2: return DType::int8;
    case 3: return DType::int16;
    case 4: return DType::int32;
    case 5: return DType::int64;
    case 6: return DType::uint8;
    case 7: return DType::uint16;
    case 8: return DType::uint32;
    case 9: return DType::uint64;
    case 10: return DType::float16;
    case 11: return DType::float32;
    case 12: return DType::float64;
    case 16: return DType::bfloat16;
    default: return DType::other;
  }
}

/// Numbers of any type that JAX may have made of them.
template <class To>
void widen(DType dtype, const void* data, std::size_t size, std::string_view name, To* out) {
  const auto from = [&]<class T>(T) {
    for (std::size_t i = 0; i < size; ++i) {
      T one;
      std::memcpy(&one, static_cast<const char*>(data) + i * sizeof(T), sizeof(T));
      out[i] = static_cast<To>(one);
    }
  };
  switch (dtype) {
    case DType::boolean: return from(std::uint8_t{});
    case DType::int8: return from(std::int8_t{});
    case DType::int16: return from(std::int16_t{});
    case DType::int32: return from(std::int32_t{});
    case DType::int64: return from(std::int64_t{});
    case DType::uint8: return from(std::uint8_t{});
    case DType::uint16: return from(std::uint16_t{});
    case DType::uint32: return from(std::uint32_t{});
    case DType::uint64: return from(std::uint64_t{});
    case DType::float32: return from(float{});
    case DType::float64: return from(double{});
    default:
      throw TypeError("attention: " + std::string(name) + " has dtype " + regard::name(dtype) +
                      ".\n  Use float32 or integers.");
  }
}

/// (..., length, heads, dim) as (..., heads, length, dim).
Array by_head(Array array) {
  if (array.rank < 3) return array;
  const auto tokens = static_cast<std::size_t>(array.rank) - 3;
  std::swap(array.shape[tokens], array.shape[tokens + 1]);
  std::swap(array.strides[tokens], array.strides[tokens + 1]);
  return array;
}

/// Whether an array has the axes of query, key or value.
bool has_tokens(std::string_view name) {
  constexpr std::string_view names[] = {"query", "key",    "value", "out",
                                        "dout",  "dquery", "dkey",  "dvalue"};
  return std::ranges::find(names, name) != std::end(names);
}

std::string_view text(const void* attribute) {
  const auto* given = static_cast<const Text*>(attribute);
  return given == nullptr ? std::string_view() : std::string_view(given->data, given->size);
}

}  // namespace

std::int64_t count(const Buffer& buffer) {
  std::int64_t elements = 1;
  for (std::int64_t axis = 0; axis < buffer.rank; ++axis) elements *= buffer.dims[axis];
  return elements;
}

Array view(const Buffer& buffer) {
  if (buffer.rank > kMaxRank) throw ValueError("attention: an array has more than 64 axes.");
  Array array;
  array.data = buffer.data;
  array.dtype = dtype_of(buffer.dtype);
  array.writable = true;
  array.rank = static_cast<int>(buffer.rank);
  auto stride = static_cast<std::int64_t>(size(array.dtype));
  for (auto axis = static_cast<std::size_t>(array.rank); axis-- > 0;) {
    array.shape[axis] = buffer.dims[axis];
    array.strides[axis] = stride;
    stride *= buffer.dims[axis];
  }
  return array;
}

/// What `bindings::read_options` asks for.
class Reader {
 public:
  explicit Reader(Call& call) : call_(call) {}

  void array(std::string_view name, std::string_view role, std::optional<Array>& to) {
    const Buffer* buffer = Call::find(call_.operands_, name);
    if (buffer == nullptr) return;
    Array& seen = to.emplace(view(*buffer));
    if (role == "lengths" && seen.dtype != DType::int64) {
      seen = widened(seen, name, call_.integers_, DType::int64);
    } else if (role == "numbers" && seen.dtype != DType::float64) {
      seen = widened(seen, name, call_.floats_, DType::float64);
    }
  }

  template <class T, class To>
  void number(std::string_view name, To& to) {
    using Wide = std::conditional_t<std::is_floating_point_v<T>, double, std::int64_t>;
    Wide wide;
    if (const Buffer* buffer = Call::find(call_.operands_, name)) {
      if (buffer->rank != 0) {
        throw ValueError("attention: " + std::string(name) + " is no single number.");
      }
      widen(view(*buffer).dtype, buffer->data, 1, name, &wide);
    } else if (const void* given = call_.attribute(name, kScalar)) {
      const auto* scalar = static_cast<const Scalar*>(given);
      widen(dtype_of(scalar->dtype), scalar->value, 1, name, &wide);
    } else {
      return;
    }
    to = static_cast<T>(wide);
  }

  /// A number, or one for each head; as an operand always the latter.
  template <class T>
  void per_head(std::string_view name, std::optional<PerHead<T>>& to) {
    if (const Buffer* buffer = Call::find(call_.operands_, name)) {
      std::vector<T> of_each(static_cast<std::size_t>(count(*buffer)));
      widen(view(*buffer).dtype, buffer->data, of_each.size(), name, of_each.data());
      to = PerHead<T>(std::move(of_each));
    } else if (const auto numbers = attribute_numbers<T>(name)) {
      to = PerHead<T>(*numbers);
    } else if (call_.attribute(name, kScalar) != nullptr) {
      T one{};
      number<T>(name, one);
      to = PerHead<T>(one);
    }
  }

  void packed_mask(Problem& p) {
    const Buffer* bits = Call::find(call_.operands_, "packed_mask");
    if (bits == nullptr) return;
    p.mask = view(*bits);
    number<std::int64_t>("packed_keys", p.packed_mask_keys);
  }

  void block_mask(Problem& p) {
    const auto shape = attribute_numbers<std::int64_t>("block_mask.shape");
    if (!shape) return;
    BlockMask& tiles = p.block_mask.emplace();
    tiles.leading.assign(shape->begin(), shape->end() - 2);
    tiles.queries = (*shape)[shape->size() - 2];
    tiles.keys = shape->back();
    number<std::int64_t>("block_mask.block_size", tiles.block_size);
    std::optional<Array> row_begin;
    array("block_mask.indptr", "lengths", row_begin);
    tiles.row_begin = {static_cast<const std::int64_t*>(row_begin.value().data),
                       static_cast<std::size_t>(row_begin->shape[0])};
    tiles.columns = numbers_of<std::int32_t>("block_mask.indices", DType::int32);
    tiles.partial = numbers_of<std::int32_t>("block_mask.partial", DType::int32);
    tiles.tiles = numbers_of<std::uint8_t>("block_mask.tiles", DType::uint8);
  }

  /// The package refuses functions: a program may outlive them.
  void function(const char*, std::optional<ScoreFunction>&) {}

  void position_bias(Problem& p) {
    const Buffer* table = Call::find(call_.operands_, "position_bias");
    if (table == nullptr) return;
    PositionBias& bias = p.position_bias.emplace();
    bias.table = view(*table);
    number<std::int64_t>("position_bias.height", bias.height);
    number<std::int64_t>("position_bias.width", bias.width);
  }

 private:
  template <class T>
  std::optional<std::vector<T>> attribute_numbers(std::string_view name) const {
    const auto* given = static_cast<const Numbers*>(call_.attribute(name, kNumbers));
    if (given == nullptr) return std::nullopt;
    std::vector<T> numbers(given->size);
    widen(dtype_of(given->dtype), given->data, given->size, name, numbers.data());
    return numbers;
  }

  template <class T>
  std::span<const T> numbers_of(std::string_view name, DType dtype) const {
    const Array array = call_.operand(name);
    if (array.dtype != dtype) {
      throw TypeError("attention: mask has a table of " + std::string(regard::name(array.dtype)) +
                      " where " + regard::name(dtype) + " is read.");
    }
    const Buffer& buffer = *Call::find(call_.operands_, name);
    return {static_cast<const T*>(array.data), static_cast<std::size_t>(count(buffer))};
  }

  template <class T>
  static Array widened(Array seen, std::string_view name, std::deque<std::vector<T>>& kept,
                       DType dtype) {
    std::int64_t elements = 1;
    for (const std::int64_t extent : seen.dims()) elements *= extent;
    std::vector<T>& wide = kept.emplace_back(static_cast<std::size_t>(elements));
    widen(seen.dtype, seen.data, wide.size(), name, wide.data());
    const auto factor = static_cast<std::int64_t>(size(dtype) / size(seen.dtype));
    for (int axis = 0; axis < seen.rank; ++axis) {
      seen.strides[static_cast<std::size_t>(axis)] *= factor;
    }
    seen.data = wide.data();
    seen.dtype = dtype;
    return seen;
  }

  Call& call_;
};

Call::Call(const CallFrame& frame) : frame_(frame) {
  const auto name_all = [&](const Buffers& buffers, const char* names, std::vector<Named>& to) {
    std::string_view rest = text(attribute(names, kText));
    for (std::int64_t i = 0; i < buffers.size; ++i) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      to.push_back({rest.substr(0, comma), static_cast<const Buffer*>(buffers.items[i])});
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  };
  name_all(frame.operands, "operands", operands_);
  name_all(frame.results, "results", results_);
  Reader read(*this);
  read.number<bool>("tokens_first", tokens_first_);
  problem.query = operand("query");
  problem.key = operand("key");
  problem.value = operand("value");
  bindings::read_options(read, problem);
}

const Buffer* Call::find(const std::vector<Named>& buffers, std::string_view name) {
  const auto found = std::ranges::find(buffers, name, &Named::name);
  return found == buffers.end() ? nullptr : found->buffer;
}

const void* Call::attribute(std::string_view name, int kind) const {
  const Attributes& all = frame_.attributes;
  for (std::int64_t i = 0; i < all.size; ++i) {
    if (text(all.names[i]) == name && all.types[i] == kind) return all.items[i];
  }
  return nullptr;
}

Array Call::operand(std::string_view name) const {
  const Buffer* buffer = find(operands_, name);
  if (buffer == nullptr) throw ValueError("attention: XLA gave no " + std::string(name) + ".");
  return tokens_first_ && has_tokens(name) ? by_head(view(*buffer)) : view(*buffer);
}

Array Call::result(std::string_view name) const {
  const Buffer* buffer = find(results_, name);
  if (buffer == nullptr) throw ValueError("attention: XLA wants no " + std::string(name) + ".");
  return tokens_first_ && has_tokens(name) ? by_head(view(*buffer)) : view(*buffer);
}

}  // namespace regard::xla
