#include "problems.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>
#include <unordered_set>

namespace regard::test {
namespace {

bool small_ones() {
  static const bool only = std::getenv("REGARD_SMALL") != nullptr;
  return only;
}

/// A length round the edges of vectors (2 .. 16), panels (12 .. 48), blocks of panels (48 .. 192)
/// and key tiles (64, 128).
std::int64_t draw_length(Random& random) {
  constexpr std::int64_t edges[] = {0, 8, 16, 24, 48, 64, 96, 128, 144, 192, 256};
  const std::int64_t last = small_ones() ? 6 : 10;
  return std::max<std::int64_t>(0, edges[pick(random, 0, last)] + pick(random, -2, 3));
}

std::int64_t draw_dim(Random& random) {
  constexpr std::int64_t edges[] = {1, 4, 8, 16, 32, 48, 64, 80, 96, 128};
  const std::int64_t last = small_ones() ? 4 : 9;
  return std::max<std::int64_t>(1, edges[pick(random, 0, last)] + pick(random, -1, 1));
}

}  // namespace

int sample(int count) {
  const char* share = std::getenv("REGARD_SAMPLE");
  return share == nullptr ? count : count / std::max(std::atoi(share), 1);
}

Spec draw_spec(Random& random, DType dtype, Layout layout) {
  Spec spec;
  spec.dtype = dtype;
  spec.layout = layout;
  for (std::int64_t axis = pick(random, 0, 2); axis > 0; --axis) {
    spec.batch.push_back(pick(random, 1, 2));
  }
  spec.kv_heads = pick(random, 1, 2);
  spec.group = chance(random, 0.5) ? 1 : pick(random, 2, 5);
  spec.queries = chance(random, 0.2) ? 1 : draw_length(random);
  spec.keys = chance(random, 0.3) ? spec.queries : draw_length(random);
  spec.head_dim = draw_dim(random);
  if (spec.queries * spec.keys > 128 * 128) spec.batch.clear();  // the oracle takes its time
  spec.value_dim = chance(random, 0.5) ? spec.head_dim : draw_dim(random);
  spec.mask = chance(random, 0.3);
  spec.bias = chance(random, 0.3);
  spec.lengths = chance(random, 0.2);
  spec.query_scale = chance(random, 0.2);
  spec.score_mod = chance(random, 0.2);
  if (chance(random, 0.4)) {
    spec.causal = chance(random, 0.7) ? Causal::lower_right : Causal::upper_left;
  }
  if (chance(random, 0.2)) spec.left = pick(random, -20, 80);
  if (chance(random, 0.2)) spec.right = pick(random, -20, 80);
  if (chance(random, 0.2)) {
    // So many heads that there are units enough for the threads with several panels in each.
    spec.batch.clear();
    spec.kv_heads = 16;
    spec.group = 1;
    spec.head_dim = spec.value_dim = pick(random, 1, 9);
  }
  if (chance(random, 0.3)) spec.scale = static_cast<double>(pick(random, -3, 3)) / 4;
  return spec;
}

Spec draw_types(Random& random, Spec spec) {
  constexpr DType types[] = {DType::float32, DType::bfloat16, DType::float16, DType::int8};
  const bool alike = chance(random, 0.4);
  spec.dtype = types[pick(random, alike ? 1 : 0, 2)];
  if (alike) return spec;
  spec.key_dtype = types[pick(random, 0, 3)];
  spec.value_dtype = types[pick(random, 0, 3)];
  return spec;
}

std::string describe(const Spec& s) {
  std::ostringstream text;
  text << name(s.dtype) << " key=" << name(s.key_dtype.value_or(s.dtype))
       << " value=" << name(s.value_dtype.value_or(s.dtype)) << " isa=" << active_isa()
       << " batch=(";
  for (const std::int64_t size : s.batch) text << size << ",";
  text << ") kv_heads=" << s.kv_heads << " group=" << s.group << " queries=" << s.queries
       << " keys=" << s.keys << " head_dim=" << s.head_dim << " value_dim=" << s.value_dim
       << " mask=" << s.mask << " bias=" << s.bias << " lengths=" << s.lengths
       << " query_scale=" << s.query_scale << " score_mod=" << s.score_mod
       << " causal=" << static_cast<int>(s.causal) << " left=" << s.left.value_or(-999)
       << " right=" << s.right.value_or(-999) << " layout=" << static_cast<int>(s.layout);
  if (s.scale) text << " scale=" << *s.scale;
  return text.str();
}

template <class Body>
void Case::for_each_head(const Body& body) const {
  const Sizes n(problem_);
  for_each_index(n.batch, [&](const Index& element) {
    for (std::int64_t head = 0; head < n.query_heads; ++head) body(element, head);
  });
}

/// The shape with some axes made one, or left out at the front.
Index Case::broadcast(Index shape) {
  for (std::int64_t& size : shape) {
    if (chance(shapes_, 0.25)) size = 1;
  }
  while (!shape.empty() && chance(shapes_, 0.25)) shape.erase(shape.begin());
  return shape;
}

std::unique_ptr<Buffer> Case::input(DType dtype, const Index& last) {
  Index shape = broadcast(spec_.batch);
  shape.insert(shape.end(), last.begin(), last.end());
  return std::make_unique<Buffer>(dtype, shape, spec_.layout, places_);
}

std::unique_ptr<Buffer> Case::stored(DType dtype, const Index& last,
                                     std::unique_ptr<Buffer>& scales) {
  auto buffer = input(dtype, last);
  if (dtype != DType::int8) return buffer;
  const Index& rows = buffer->shape();  // batch axes of their own would be none of the problem
  Index batch = broadcast(Index(rows.begin(), rows.end() - 3));
  batch.insert(batch.end(), {last[0], last[1]});
  scales = std::make_unique<Buffer>(DType::float32, batch, spec_.layout, places_);
  return buffer;
}

std::unique_ptr<Buffer> Case::score_input(DType dtype, std::int64_t heads) {
  Index shape = Sizes(problem_).batch;
  shape.insert(shape.end(), {heads, spec_.queries, spec_.keys});
  return std::make_unique<Buffer>(dtype, broadcast(shape), spec_.layout, places_);
}

Case::Case(const Spec& spec, std::uint64_t seed)
    : spec_(spec), shapes_(seed), numbers_(seed + 1), places_(seed + 2) {
  const std::int64_t heads = spec.kv_heads * spec.group;
  query_ = input(spec.dtype, {heads, spec.queries, spec.head_dim});
  key_ = stored(spec.key_dtype.value_or(spec.dtype), {spec.kv_heads, spec.keys, spec.head_dim},
                key_scales_);
  value_ = stored(spec.value_dtype.value_or(spec.dtype), {spec.kv_heads, spec.keys, spec.value_dim},
                  value_scales_);
  std::normal_distribution<double> normal;
  for (Buffer* buffer : {query_.get(), key_.get(), value_.get()}) {
    const bool integers = buffer->array().dtype == DType::int8;
    buffer->fill([&] {
      return integers ? static_cast<double>(pick(numbers_, -128, 127)) : normal(numbers_);
    });
  }
  for (const auto& [scales, of] : {std::pair{key_scales_.get(), &problem_.key_scales},
                                   {value_scales_.get(), &problem_.value_scales}}) {
    if (scales == nullptr) continue;
    scales->fill([&] { return normal(numbers_) / 64; });
    *of = scales->array();
  }
  problem_.query = query_->array();
  problem_.key = key_->array();
  problem_.value = value_->array();
  if (spec.mask) {
    mask_ = score_input(DType::boolean, heads);
    const double share = chance(numbers_, 0.5) ? 0.5 : 0.98;
    mask_->fill([&] { return chance(numbers_, share); });
    problem_.mask = mask_->array();
  }
  if (spec.bias) {
    bias_ = score_input(spec.dtype, heads);
    bias_->fill([&] { return chance(numbers_, 0.1) ? -kInfinity : normal(numbers_); });
    problem_.bias = bias_->array();
  }
  if (spec.lengths) {
    lengths_ = std::make_unique<Buffer>(DType::int64, broadcast(Sizes(problem_).batch), spec.layout,
                                        places_);
    lengths_->fill([&] { return static_cast<double>(pick(numbers_, 0, spec.keys)); });
    problem_.key_lengths = lengths_->array();
  }
  if (spec.query_scale) {
    query_scale_ = std::make_unique<Buffer>(
        DType::float64, broadcast(joined(Sizes(problem_).batch, {heads, spec.queries})),
        spec.layout, places_);
    query_scale_->fill([&] { return normal(numbers_); });
    problem_.query_scale = query_scale_->array();
  }
  if (spec.score_mod) problem_.score_mod = score_function(spec.dtype);
  problem_.causal = spec.causal;
  problem_.window_left = spec.left;
  problem_.window_right = spec.right;
  problem_.scale = spec.scale;
  problem_.threads = pick(numbers_, 1, 3);
  const Layout layout = spec.layout == Layout::broadcast ? Layout::strided : spec.layout;
  const Sizes n(problem_);
  out_ = std::make_unique<Buffer>(
      spec.dtype, joined(n.batch, {n.query_heads, n.queries, n.value_dim}), layout, places_);
  const DType compute = spec.dtype == DType::float64 ? DType::float64 : DType::float32;
  lse_ = std::make_unique<Buffer>(compute, joined(n.batch, {n.query_heads, n.queries}), layout,
                                  places_);
}

void Case::run() {
  const Array lse = lse_->array(true);
  attention(problem_, out_->array(true), &lse);
}

double Case::check() const {
  const double eps = epsilon(spec_.dtype == DType::float64 ? DType::float64 : DType::float32);
  // Outputs of 16 bits are rounded once; of products in bfloat16 so are the weights.
  const double half = epsilon(spec_.dtype) > eps ? epsilon(spec_.dtype) : 0;
  const bool products = active_isa() == "avx512_bf16" && spec_.dtype == DType::bfloat16;
  double worst = 0;
  const auto compare = [&](double got, double expected, double bound) {
    if (got == expected || (std::isnan(got) && std::isnan(expected))) return;
    const double share = std::abs(got - expected) / bound;
    worst = std::isnan(share) ? kInfinity : std::max(worst, share);
  };
  // Rounding in the dot product is an error of the score, and the exponential turns that into a
  // relative error of the weight. Errors of a sum add up like a random walk, unless axes of
  // stride 0 make its terms alike.
  const auto growth = [&](std::int64_t terms) {
    const auto n = static_cast<double>(terms);
    return (spec_.layout == Layout::broadcast ? n : std::sqrt(n)) / 2;
  };
  const double dot = 2 + growth(spec_.head_dim), sum = 8 + growth(spec_.keys);
  for_each_head([&](const Index& element, std::int64_t head) {
    const Expected expected = attention_oracle(problem_, element, head);
    for (std::int64_t i = 0; i < expected.out.rows(); ++i) {
      const double size = std::isnan(expected.size[i]) ? 0 : expected.size[i];
      const double relative = eps * (sum + dot * size);
      for (std::int64_t c = 0; c < expected.out.cols(); ++c) {
        const double rounding = half * (0.501 * std::abs(expected.out(i, c)) +
                                        (products ? 2 * expected.value_size : 0));
        compare(out_->get(joined(element, {head, i, c})), expected.out(i, c),
                relative * expected.value_size + rounding + (half > 0 ? 0x1p-25 : 0));
      }
      compare(lse_->get(joined(element, {head, i})), expected.lse[i], relative);
    }
  });
  CHECK_MESSAGE(worst <= 1, describe(spec_) << ": " << worst << " of the bound");
  for (const auto& buffer :
       {&query_, &key_, &value_, &out_, &lse_, &key_scales_, &value_scales_, &query_scale_}) {
    CHECK_MESSAGE((*buffer == nullptr || (*buffer)->intact()), describe(spec_));
  }
  return worst;
}

void Case::poison_unseen() {
  std::unordered_set<const char*> seen;
  for_each_head([&](const Index& element, std::int64_t head) {
    const Sizes n(problem_);
    const Visible visible = visible_keys(problem_, element, head);
    if (visible.size() == 0) return;  // Eigen would count rows of it from a null pointer
    const auto see = [&](const Array& array, std::int64_t h, std::int64_t row, std::int64_t dim) {
      for (std::int64_t c = 0; c < dim; ++c)
        seen.insert(address(array, joined(element, {h, row, c})));
    };
    for (std::int64_t i = 0; i < n.queries; ++i) {
      if (!visible.row(i).any()) continue;
      see(problem_.query, head, i, n.head_dim);
      if (problem_.query_scale) {
        seen.insert(address(*problem_.query_scale, joined(element, {head, i})));
      }
    }
    for (std::int64_t j = 0; j < n.keys; ++j) {
      if (!visible.col(j).any()) continue;
      see(problem_.key, n.kv_head(head), j, n.head_dim);
      see(problem_.value, n.kv_head(head), j, n.value_dim);
      for (const auto* scales : {&problem_.key_scales, &problem_.value_scales}) {
        if (*scales) seen.insert(address(**scales, joined(element, {n.kv_head(head), j})));
      }
    }
    if (!problem_.bias) return;
    for_each_index({n.queries, n.keys}, [&](const Index& at) {
      if (visible(at[0], at[1])) {
        seen.insert(address(*problem_.bias, joined(element, {head, at[0], at[1]})));
      }
    });
  });
  constexpr double poisons[] = {std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity};
  for (Buffer* buffer : {query_.get(), key_.get(), value_.get(), bias_.get(), key_scales_.get(),
                         value_scales_.get(), query_scale_.get()}) {
    if (buffer == nullptr || buffer->array().dtype == DType::int8) continue;
    // A bias of -inf masks, so making one -inf or not would change what is seen.
    const bool bias = buffer == bias_.get();
    for_each_index(buffer->shape(), [&](const Index& index) {
      if (seen.contains(address(buffer->array(), index))) return;
      if (bias && buffer->get(index) == -kInfinity) return;
      buffer->set(index, poisons[pick(numbers_, 0, bias ? 1 : 2)]);
    });
  }
}

void Case::poison_one() {
  for (const auto& [rows, scales] :
       {std::pair{key_.get(), key_scales_.get()}, {value_.get(), value_scales_.get()}}) {
    Buffer* buffer = scales != nullptr ? scales : rows;  // integers cannot be NaN
    if (std::ranges::count(buffer->shape(), 0) > 0) continue;
    Index index;
    for (const std::int64_t size : buffer->shape()) index.push_back(pick(numbers_, 0, size - 1));
    buffer->set(index, std::numeric_limits<double>::quiet_NaN());
  }
}

}  // namespace regard::test
