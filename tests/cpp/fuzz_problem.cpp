// libFuzzer: problems made of whatever bytes come. Either the library refuses, or it computes and
// stays within the arrays.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "fuzz_arrays.hpp"
#include "fuzz_scores.hpp"
#include "fuzz_tiles.hpp"
#include "regard/attention.hpp"

namespace {

using namespace regard;
using namespace regard::fuzz;

/// Puts keys and values into pages, and makes the table of them; now and then a wrong one.
template <class Input>
void make_pages(Bytes& bytes, Problem& problem, std::int64_t elements, std::int64_t kv_heads,
                std::int64_t& keys, std::int64_t head_dim, std::int64_t value_dim,
                const Input& input, std::vector<Owned>& inputs) {
  const std::int64_t page_size = 1 + bytes.below(40), blocks = (keys + page_size - 1) / page_size;
  const std::int64_t pages = 1 + bytes.below(9);
  keys = blocks * page_size;
  const auto other = [&](std::int64_t usual) { return usual + (bytes.rarely(64) ? 1 : 0); };
  problem.key = input(problem.key.dtype, {pages, page_size, kv_heads, head_dim});
  problem.value = input(problem.value.dtype, {other(pages), other(page_size), kv_heads, value_dim});
  for (auto* scales : {&problem.key_scales, &problem.value_scales}) {
    if (*scales) *scales = input(DType::float32, {other(pages), page_size, kv_heads});
  }
  inputs.push_back(dense_array(bytes, DType::int64, {elements, blocks}));
  const Array& table = inputs.back().array;
  for (std::int64_t i = 0; i < elements * blocks; ++i) {
    std::int64_t page = bytes.below(pages);
    if (bytes.rarely(32)) page = -1;
    if (bytes.rarely(64)) page = pages;
    if (bytes.rarely(128)) page = std::int64_t{1} << 62;
    std::memcpy(static_cast<char*>(table.data) + 8 * i, &page, sizeof page);
  }
  problem.block_table = table;
  if (bytes.rarely(32)) return;
  inputs.push_back(dense_array(bytes, DType::int64, {elements}));
  problem.key_lengths = inputs.back().array;
  fill_lengths(bytes, inputs.back(), keys);
}

/// Rows of the weights, or what can be said of them all, in memory of exactly the right size.
void look(Bytes& bytes, const Plan& plan, DType dtype) {
  const std::int64_t batch = plan.batch(), heads = plan.query_heads();
  const std::int64_t queries = plan.queries(), keys = plan.keys();
  if (bytes.rarely(2)) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(bytes.below(6)));
    std::int64_t row = queries > 0 ? bytes.below(queries) : 0;
    for (std::int64_t& each : rows) {
      each = row;
      row = bytes.rarely(4) && queries > 0 ? bytes.below(queries) : row + 1;
    }
    const std::int64_t first = bytes.below(keys + 1), last = first + bytes.below(keys - first + 1);
    const Owned out = dense_array(
        bytes, dtype, {batch, heads, static_cast<std::int64_t>(rows.size()), last - first});
    plan.weights(rows, first, last, out.array, static_cast<Stage>(bytes.below(4)));
    return;
  }
  const std::int64_t top_k = bytes.below(12);
  const std::int64_t query_cells = std::min(queries, 1 + bytes.below(20));
  const std::int64_t key_cells = std::min(keys, 1 + bytes.below(20));
  const auto make = [&](DType type, std::vector<std::int64_t> last) {
    last.insert(last.begin(), {batch, heads});
    return dense_array(bytes, type, last);
  };
  const Owned lse = make(dtype, {queries}), entropy = make(dtype, {queries});
  const Owned row_max = make(dtype, {queries}), top_weights = make(dtype, {queries, top_k});
  const Owned top_keys = make(DType::int64, {queries, top_k});
  const Owned column_sums = make(DType::float64, {keys});
  const Owned pooled = make(DType::float64, {query_cells, key_cells});
  plan.summary({lse.array.data, entropy.array.data, row_max.array.data, top_weights.array.data,
                static_cast<std::int64_t*>(top_keys.array.data),
                static_cast<double*>(column_sums.array.data),
                static_cast<double*>(pooled.array.data), top_k, query_cells, key_cells});
}

void run(Bytes& bytes) {
  const auto isas = available_isas();
  set_isa(isas[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(isas.size())))]);
  const DType dtype = bytes.rarely(2) ? DType::float64 : DType::float32;
  const bool packed = bytes.rarely(4);
  std::vector<std::int64_t> batch;
  if (!packed && bytes.rarely(3)) batch.push_back(1 + bytes.below(2));
  const std::int64_t kv_heads = bytes.rarely(4) ? 16 : bytes.below(3), group = 1 + bytes.below(3);
  const std::int64_t heads = kv_heads * group;
  std::int64_t queries = bytes.below(140), keys = bytes.below(140), height = 0, width = 0;
  if (bytes.rarely(8)) {
    height = 1 + bytes.below(12);
    width = 1 + bytes.below(12);
    queries = keys = height * width;
  }
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
  const bool mixed = dtype == DType::float32 && bytes.rarely(2);
  const auto stored = [&](std::int64_t kinds) {
    return mixed ? kStored[bytes.below(kinds)] : dtype;
  };
  problem.query = input(stored(3), shape({heads, queries, head_dim}));
  problem.key = input(stored(4), shape({kv_heads, keys, head_dim}));
  problem.value = input(stored(4), shape({kv_heads, keys, value_dim}));
  for (const auto& [array, scales] :
       {std::pair{&problem.key, &problem.key_scales}, {&problem.value, &problem.value_scales}}) {
    if ((array->dtype == DType::int8) != bytes.rarely(32)) {
      *scales = input(DType::float32, shape({kv_heads, keys}));
    }
  }
  // What follows concerns the pieces: their number, and the longest of them.
  if (packed) {
    const std::int64_t starts = 1 + bytes.below(6);
    const auto longest = [&](std::optional<Array>& array, std::int64_t total) {
      array = input(DType::int64, {starts});
      fill_starts(bytes, inputs.back(), total);
      std::int64_t most = 0;
      const bool read = array->dtype == DType::int64 && array->rank == 1;
      for (std::int64_t i = 1; read && i < array->shape[0]; ++i) {
        std::int64_t ends[2];
        for (std::int64_t n = 0; n < 2; ++n) {
          const char* at = static_cast<const char*>(array->data) + (i - 1 + n) * array->strides[0];
          std::memcpy(&ends[n], at, sizeof ends[n]);
        }
        most = std::max(most, ends[1] - ends[0]);
      }
      return std::min<std::int64_t>(most, 140);
    };
    queries = longest(problem.query_starts, queries);
    batch.push_back(starts - 1);
    if (!bytes.rarely(3)) {
      keys = longest(problem.key_starts, keys);
      if (bytes.rarely(32)) problem.key_starts.reset();
    }
  }
  if (packed ? !problem.key_starts : bytes.rarely(4)) {
    std::int64_t elements = 1;
    for (const std::int64_t size : batch) elements *= size;
    make_pages(bytes, problem, elements, kv_heads, keys, head_dim, value_dim, input, inputs);
  }
  std::unique_ptr<Tiles> tiles;
  if (bytes.rarely(3)) {
    tiles = make_tiles(bytes, batch, heads, queries, keys);
    problem.block_mask = tiles->mask;
  }
  if (bytes.rarely(tiles ? 16 : 3)) {
    if (bytes.rarely(2)) {
      problem.mask = input(DType::uint8, {queries, (keys + 7) / 8});
      problem.packed_mask_keys = keys + (bytes.rarely(32) ? 1 : 0);
    } else {
      problem.mask = input(DType::boolean, {queries, keys});
    }
  }
  if (bytes.rarely(3)) problem.bias = input(stored(3), shape({heads, queries, keys}));
  for (const auto& [lengths, most] : {std::pair{&problem.key_lengths, keys},
                                      {&problem.query_lengths, queries},
                                      {&problem.query_offset, keys}}) {
    if (*lengths || !bytes.rarely(4)) continue;
    *lengths = input(DType::int64, batch);
    fill_lengths(bytes, inputs.back(), most);
  }
  if (bytes.rarely(4)) {
    problem.alibi_slopes = input(DType::float64, bytes.rarely(2) ? shape({heads}) : shape({1}));
  }
  if (bytes.rarely(4)) problem.query_scale = input(DType::float64, shape({heads, queries}));
  problem.causal = static_cast<Causal>(bytes.below(3));
  problem.window_left = maybe_window(bytes, heads);
  problem.window_right = maybe_window(bytes, heads);
  problem.threads = maybe(bytes, 3, 4);
  choose_scores(bytes, problem, heads, height, width, inputs);

  const Plan plan(problem);
  plan.visible_share();
  plan.options();
  if (bytes.rarely(3)) return look(bytes, plan, plan.compute_dtype());
  std::vector<std::int64_t> out_shape(plan.out_shape().begin(), plan.out_shape().end());
  std::vector<std::int64_t> lse_shape(plan.lse_shape().begin(), plan.lse_shape().end());
  const Owned out = make_array(bytes, plan.dtype(), out_shape, true);
  const Owned lse = make_array(bytes, plan.compute_dtype(), lse_shape, true);
  plan.run(out.array, bytes.rarely(2) ? &lse.array : nullptr);
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
