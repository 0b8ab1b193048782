// libFuzzer: problems made of whatever bytes come. Either the library refuses, or it computes and
// stays within the arrays, each of which has a heap block of its own for AddressSanitizer to watch.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "regard/attention.hpp"

namespace {

using namespace regard;

/// Choices read off the input; zeros when it is used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::uint8_t next() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::int64_t below(std::int64_t limit) { return next() % limit; }
  /// True once in `times`.
  bool rarely(int times) { return next() % times == times - 1; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

/// An array and the memory that holds its elements and not a byte more.
struct Owned {
  Array array;
  std::unique_ptr<char[]> memory;
};

constexpr DType kTypes[] = {DType::float32, DType::float64, DType::boolean, DType::int64,
                            DType::int32,   DType::float16, DType::uint8,   DType::other};

Owned make_array(Bytes& bytes, DType usual, std::vector<std::int64_t> shape, bool output = false) {
  if (bytes.rarely(32)) usual = kTypes[bytes.below(8)];
  if (bytes.rarely(32) && !shape.empty()) shape.erase(shape.begin());
  if (bytes.rarely(32)) shape.insert(shape.begin(), bytes.below(3));
  for (std::int64_t& size : shape) {
    if (bytes.rarely(64)) size = bytes.below(5);
  }
  Owned owned;
  Array& array = owned.array;
  array.dtype = usual;
  array.writable = output && !bytes.rarely(64);
  array.rank = static_cast<int>(shape.size());
  const auto element = static_cast<std::int64_t>(size(usual) == 0 ? 1 : size(usual));
  // Strides: dense from the last axis, then each may be spread, reversed or made zero. Outputs
  // must not overlap themselves, which nothing can check, so theirs only grow.
  std::int64_t extent = element, low = 0, high = 0;
  bool empty = false;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    std::int64_t stride = extent;
    if (bytes.rarely(4)) stride += bytes.below(8) * (bytes.rarely(2) ? 1 : element);
    extent = stride * std::max<std::int64_t>(shape[axis], 1);
    if (bytes.rarely(6)) stride = -stride;
    if (bytes.rarely(output ? 64 : 8)) stride = 0;
    array.shape[axis] = shape[axis];
    array.strides[axis] = stride;
    if (shape[axis] == 0) empty = true;
    const std::int64_t reach = stride * std::max<std::int64_t>(shape[axis] - 1, 0);
    (reach < 0 ? low : high) += reach;
  }
  const std::int64_t size = empty ? 0 : high - low + element;
  owned.memory = std::make_unique<char[]>(static_cast<std::size_t>(size));
  array.data = owned.memory.get() - (empty ? 0 : low);
  if (usual == DType::int64) return owned;  // lengths: zeros until they are filled in
  const std::uint8_t pattern = bytes.next();
  for (std::int64_t i = 0; i < size; ++i) {
    owned.memory[static_cast<std::size_t>(i)] = static_cast<char>(pattern * (i + 3) >> 3);
  }
  return owned;
}

/// Fills int64 lengths with numbers that are mostly in range.
void fill_lengths(Bytes& bytes, const Owned& lengths, std::int64_t keys) {
  if (lengths.array.dtype != DType::int64) return;
  std::int64_t count = 1;
  for (const std::int64_t size : lengths.array.dims()) count *= size;
  if (count == 0) return;
  const bool dense = lengths.array.rank == 1 && lengths.array.strides[0] == 8;
  for (std::int64_t i = 0; i < (dense ? count : 1); ++i) {
    const std::int64_t length = bytes.below(keys + 1) - (bytes.rarely(32) ? 1 : 0);
    std::memcpy(static_cast<char*>(lengths.array.data) + 8 * i, &length, sizeof length);
  }
}

std::optional<std::int64_t> maybe(Bytes& bytes, int times, std::int64_t limit) {
  if (!bytes.rarely(times)) return std::nullopt;
  return bytes.rarely(16) ? bytes.below(3) - 2 : bytes.below(limit);
}

void run(Bytes& bytes) {
  const auto isas = available_isas();
  set_isa(isas[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(isas.size())))]);
  const DType dtype = bytes.rarely(2) ? DType::float64 : DType::float32;
  std::vector<std::int64_t> batch;
  if (bytes.rarely(3)) batch.push_back(1 + bytes.below(2));
  const std::int64_t kv_heads = bytes.rarely(4) ? 16 : bytes.below(3), group = 1 + bytes.below(3);
  const std::int64_t queries = bytes.below(140), keys = bytes.below(140);
  const std::int64_t head_dim = bytes.below(40), value_dim = bytes.below(40);
  const auto shape = [&](std::initializer_list<std::int64_t> last) {
    std::vector<std::int64_t> all = batch;
    all.insert(all.end(), last);
    return all;
  };
  std::vector<Owned> inputs;
  const auto input = [&](DType type, std::vector<std::int64_t> wanted) {
    inputs.push_back(make_array(bytes, type, std::move(wanted)));
    return inputs.back().array;
  };

  Problem problem;
  problem.query = input(dtype, shape({kv_heads * group, queries, head_dim}));
  problem.key = input(dtype, shape({kv_heads, keys, head_dim}));
  problem.value = input(dtype, shape({kv_heads, keys, value_dim}));
  if (bytes.rarely(3)) problem.mask = input(DType::boolean, {queries, keys});
  if (bytes.rarely(3)) problem.bias = input(dtype, shape({kv_heads * group, queries, keys}));
  if (bytes.rarely(4)) {
    problem.key_lengths = input(DType::int64, batch);
    fill_lengths(bytes, inputs.back(), keys);
  }
  problem.causal = static_cast<Causal>(bytes.below(3));
  problem.window_left = maybe(bytes, 3, 150);
  problem.window_right = maybe(bytes, 3, 150);
  problem.threads = maybe(bytes, 3, 4);
  if (bytes.rarely(3)) problem.scale = static_cast<double>(bytes.below(9) - 4) / 2;
  if (bytes.rarely(64)) problem.scale = 1e308 * 10;

  const Plan plan(problem);
  std::vector<std::int64_t> out_shape(plan.out_shape().begin(), plan.out_shape().end());
  std::vector<std::int64_t> lse_shape(plan.lse_shape().begin(), plan.lse_shape().end());
  const Owned out = make_array(bytes, plan.dtype(), out_shape, true);
  const Owned lse = make_array(bytes, plan.dtype(), lse_shape, true);
  plan.run(out.array, bytes.rarely(2) ? &lse.array : nullptr);
  plan.visible_share();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  try {
    run(bytes);
  } catch (const ValueError&) {
  } catch (const TypeError&) {
  }
  return 0;
}
