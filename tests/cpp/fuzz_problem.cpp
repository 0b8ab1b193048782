// libFuzzer: problems made of whatever bytes come. Either the library refuses, or it computes and
// stays within the arrays, each of which has a heap block of its own for AddressSanitizer to watch.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
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

constexpr DType kTypes[] = {DType::float32, DType::float64,  DType::boolean, DType::int64,
                            DType::int32,   DType::float16,  DType::uint8,   DType::other,
                            DType::int8,    DType::bfloat16, DType::int16,   DType::uint16};
// What goes together; int8 only for keys and values.
constexpr DType kStored[] = {DType::float32, DType::bfloat16, DType::float16, DType::int8};

Owned make_array(Bytes& bytes, DType usual, std::vector<std::int64_t> shape, bool output = false) {
  if (bytes.rarely(32)) usual = kTypes[bytes.below(12)];
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

/// Fills offsets of pieces, which mostly rise from 0 to `total`.
void fill_starts(Bytes& bytes, const Owned& starts, std::int64_t total) {
  const Array& array = starts.array;
  if (array.dtype != DType::int64 || array.rank != 1) return;
  std::int64_t start = 0;
  for (std::int64_t i = 0; i < array.shape[0]; ++i) {
    if (i > 0) start += bytes.below(total - start + 1);
    if (i + 1 == array.shape[0]) start = total;
    const std::int64_t written = bytes.rarely(64) ? start - bytes.below(200) : start;
    std::memcpy(static_cast<char*>(array.data) + i * array.strides[0], &written, sizeof written);
  }
}

/// Memory of exactly so many bytes, as a C-contiguous array.
Owned dense_array(Bytes& bytes, DType dtype, const std::vector<std::int64_t>& shape) {
  Owned owned;
  Array& array = owned.array;
  array.dtype = dtype;
  array.writable = true;
  array.rank = static_cast<int>(shape.size());
  auto extent = static_cast<std::int64_t>(size(dtype));
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    array.shape[axis] = shape[axis];
    array.strides[axis] = extent;
    extent *= shape[axis];
  }
  owned.memory = std::make_unique<char[]>(static_cast<std::size_t>(extent));
  array.data = owned.memory.get();
  std::memset(array.data, bytes.rarely(2) ? 0 : 0x3E, static_cast<std::size_t>(extent));
  return owned;
}

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

/// A block mask and its arrays.
struct Tiles {
  BlockMask mask;
  std::vector<std::int64_t> row_begin;
  std::vector<std::int32_t> columns, partial;
  std::vector<std::uint8_t> bits;
};

/// Spoils one element of an array of a block mask, or the array's length.
template <class T>
void corrupt(Bytes& bytes, std::vector<T>& numbers) {
  if (numbers.empty()) return;
  if (bytes.rarely(4)) return numbers.pop_back();
  constexpr std::int64_t spoilt[] = {-2, -1, 0, 1, 2, 1000, 2147483647, -2147483648};
  numbers[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(numbers.size())))] =
      static_cast<T>(spoilt[bytes.below(8)]);
}

std::unique_ptr<Tiles> make_tiles(Bytes& bytes, const std::vector<std::int64_t>& batch,
                                  std::int64_t heads, std::int64_t queries, std::int64_t keys) {
  auto tiles = std::make_unique<Tiles>();
  BlockMask& mask = tiles->mask;
  if (bytes.rarely(2)) {
    mask.leading = batch;
    mask.leading.push_back(bytes.rarely(2) ? 1 : heads);
  }
  if (bytes.rarely(32)) mask.leading.push_back(bytes.below(3));
  mask.queries = queries + (bytes.rarely(32) ? bytes.below(20) - 10 : 0);
  mask.keys = keys + (bytes.rarely(32) ? bytes.below(20) - 10 : 0);
  mask.block_size = 16 * (1 + bytes.below(9));
  const auto blocks = [&](std::int64_t n) { return (n + mask.block_size - 1) / mask.block_size; };
  std::int64_t rows = blocks(mask.queries);
  for (const std::int64_t extent : mask.leading) rows *= extent;
  const std::int64_t held = bytes.below(4), shift = bytes.below(8);
  tiles->row_begin.push_back(0);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < blocks(mask.keys); ++column) {
      // Few bytes for many rows: what they say is repeated, shifted.
      const std::int64_t choice = row % 8 == 0 ? bytes.next() : row * 37 + column * shift;
      if (choice % 3 == 0) continue;
      tiles->columns.push_back(static_cast<std::int32_t>(column));
      tiles->partial.push_back(
          static_cast<std::int32_t>(choice % 3 == 1 || held == 0 ? -1 : choice % held));
    }
    tiles->row_begin.push_back(static_cast<std::int64_t>(tiles->columns.size()));
  }
  // Bits outside the mask, which should be 0, are whatever comes.
  tiles->bits.resize(static_cast<std::size_t>(held * mask.block_size * mask.block_size / 8));
  const std::uint8_t pattern = bytes.next();
  std::iota(tiles->bits.begin(), tiles->bits.end(), pattern);
  if (bytes.rarely(4)) {
    switch (bytes.below(5)) {
      case 0: corrupt(bytes, tiles->row_begin); break;
      case 1: corrupt(bytes, tiles->columns); break;
      case 2: corrupt(bytes, tiles->partial); break;
      case 3: corrupt(bytes, tiles->bits); break;
      default: mask.block_size += bytes.below(40) - 20;
    }
  }
  // AddressSanitizer watches what lies behind a block, not behind a vector's size.
  tiles->row_begin = std::vector(tiles->row_begin);
  tiles->columns = std::vector(tiles->columns);
  tiles->partial = std::vector(tiles->partial);
  tiles->bits = std::vector(tiles->bits);
  mask.row_begin = tiles->row_begin;
  mask.columns = tiles->columns;
  mask.partial = tiles->partial;
  mask.tiles = tiles->bits;
  return tiles;
}

/// One number, or one for each head.
template <class T, class Draw>
PerHead<T> per_head(Bytes& bytes, std::int64_t heads, const Draw& draw) {
  if (!bytes.rarely(2)) return draw();
  std::vector<T> numbers(static_cast<std::size_t>(heads + (bytes.rarely(32) ? 1 : 0)));
  for (T& number : numbers) number = draw();
  return PerHead<T>(std::move(numbers));
}

std::optional<PerHead<std::int64_t>> maybe_window(Bytes& bytes, std::int64_t heads) {
  if (!bytes.rarely(3)) return std::nullopt;
  constexpr std::int64_t ends[] = {0, -1, INT64_MAX, INT64_MIN};
  return per_head<std::int64_t>(
      bytes, heads, [&] { return bytes.rarely(8) ? ends[bytes.below(4)] : bytes.below(200) - 50; });
}

std::optional<std::int64_t> maybe(Bytes& bytes, int times, std::int64_t limit) {
  if (!bytes.rarely(times)) return std::nullopt;
  return bytes.rarely(16) ? bytes.below(3) - 2 : bytes.below(limit);
}

template <class T>
void halve(T* scores, std::int64_t count, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
           void*) {
  for (std::int64_t n = 0; n < count; ++n) scores[n] /= 2;
}

/// A function of scores; `twice`: which says two ways to call it.
ScoreFunction halves(DType dtype, bool twice) {
  const auto address = [](auto* function) { return reinterpret_cast<void (*)()>(function); };
  return {dtype == DType::float64 ? address(&halve<double>) : address(&halve<float>),
          twice ? [](void*, const ScoreTile&) {} : nullptr, nullptr};
}

/// What concerns scores and weights: numbers, tables, dropout.
void choose_scores(Bytes& bytes, Problem& problem, std::int64_t heads, std::int64_t height,
                   std::int64_t width, std::vector<Owned>& inputs) {
  const auto number = [&] { return static_cast<double>(bytes.below(9) - 4) / 2; };
  if (bytes.rarely(3)) problem.scale = per_head<double>(bytes, heads, number);
  if (bytes.rarely(64)) problem.scale = 1e308 * 10;
  if (bytes.rarely(4)) {
    problem.softcap = per_head<double>(bytes, heads, [&] {
      return bytes.rarely(64) ? -1.0 : static_cast<double>(bytes.below(4));
    });
  }
  if (bytes.rarely(4)) problem.sinks = per_head<double>(bytes, heads, number);
  if (bytes.rarely(4)) problem.score_mod = halves(problem.query.dtype, bytes.rarely(64));
  problem.cosine = bytes.rarely(4);
  if (bytes.rarely(4)) {
    problem.dropout = static_cast<double>(bytes.below(11)) / 10;
    if (!bytes.rarely(16)) problem.seed = bytes.next() * 0x9E3779B97F4A7C15ull;
  }
  if (bytes.rarely(4)) {
    const bool grid = width > 0 && !bytes.rarely(16);
    const std::int64_t places =
        (grid ? (2 * height - 1) * (2 * width - 1) : 1 + 2 * bytes.below(140)) +
        (bytes.rarely(32) ? 1 : 0);
    const std::int64_t rows = bytes.rarely(2) ? 1 : heads + (bytes.rarely(32) ? 1 : 0);
    const bool wide = problem.query.dtype == DType::float64;
    inputs.push_back(dense_array(bytes, wide ? DType::float64 : DType::float32, {rows, places}));
    problem.position_bias = {inputs.back().array, grid ? height : 0, grid ? width : 0};
    if (bytes.rarely(32)) problem.position_bias->height = bytes.below(5) - 2;
  }
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
