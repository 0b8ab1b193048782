// Random arrays of a case, and the check of what becomes of them.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "cases.hpp"
#include "regard/attention.hpp"
#include "regard/store.hpp"

namespace regard::benchmark {

/// Memory of huge pages where the system has them, as NumPy's large arrays are.
template <class T>
struct HugePages {
  using value_type = T;
  T* allocate(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + kPage - 1) / kPage * kPage;
    void* memory = std::aligned_alloc(kPage, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    madvise(memory, bytes, MADV_HUGEPAGE);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) { std::free(memory); }
  bool operator==(const HugePages&) const { return true; }

 private:
  static constexpr std::size_t kPage = std::size_t{2} << 20;
};
template <class T>
using Numbers = std::vector<T, HugePages<T>>;

/// The memory of a case and the problem that points into it; T is float or double. What is stored
/// as something else is rounded into a copy, and widened again for the check.
template <class T>
class Inputs {
 public:
  Inputs(const Case& c, std::uint64_t seed) : case_(c), random_(seed) {
    query_ = numbers(c.heads * c.queries * c.head_dim);
    key_ = numbers(c.kv_heads * c.keys * c.head_dim);
    if (c.latent == 0) value_ = numbers(c.kv_heads * c.keys * c.head_dim);
    out_.resize(static_cast<std::size_t>(c.batch * c.heads * c.queries * c.value_dim()));
    problem.query = array(query_.data(), c.heads, c.queries);
    problem.key = array(key_.data(), c.kv_heads, c.keys);
    problem.value = array(value_.data(), c.kv_heads, c.keys);
    if (c.latent > 0) take_value_from_key();
    out = contiguous(out_.data(), {c.batch, c.heads, c.queries, c.value_dim()});
    wide_ = {problem.query, problem.key, problem.value, out};
    if (c.stored != DType::float32) {
      if (c.stored != DType::int8) {
        put(problem.query);
        out_halves_.resize(out_.size());
        out.data = out_halves_.data();
        dense(out, c.stored);
      }
      problem.key_scales = put(problem.key);
      if (c.latent == 0) {
        problem.value_scales = put(problem.value);
      } else {
        take_value_from_key();
      }
    }
    const std::int64_t scores = c.heads * c.queries * c.keys;
    if (c.mask) {
      mask_ = std::make_unique<bool[]>(static_cast<std::size_t>(c.batch * scores));
      std::bernoulli_distribution half;
      std::generate_n(mask_.get(), c.batch * scores, [&] { return half(random_); });
      problem.mask = contiguous(mask_.get(), {c.batch, c.heads, c.queries, c.keys});
    }
    if (c.bias) {
      bias_ = numbers(scores);
      problem.bias = contiguous(bias_.data(), {c.batch, c.heads, c.queries, c.keys});
    }
    if (c.causal) problem.causal = Causal::lower_right;
    if (c.window > 0) problem.window_left = c.window - 1;
    if (c.softcap) problem.softcap = 30.0;
    if (c.alibi) {
      // Powers of 2^(-8 / heads), which are those of ALiBi for the eight heads of the case.
      for (std::int64_t h = 1; h <= c.heads; ++h) {
        slopes_.push_back(std::exp2(-8.0 * static_cast<double>(h) / static_cast<double>(c.heads)));
      }
      problem.alibi_slopes = contiguous(slopes_.data(), {c.heads});
    }
    if (c.sinks) {
      const Numbers<T> sinks = numbers(c.heads);
      problem.sinks = PerHead<double>(std::vector<double>(sinks.begin(), sinks.end()));
    }
    if (c.dropout) {
      problem.dropout = kDropout;
      problem.seed = seed;
    }
    if (c.relative) {
      table_ = numbers(c.heads * (2 * kReach + 1));
      problem.position_bias = {contiguous(table_.data(), {c.heads, 2 * kReach + 1})};
    }
  }

  /// Largest error of some rows of `out` against the definition, evaluated in double.
  double error(int rows) {
    double worst = 0;
    if (!out_halves_.empty()) {
      store(out,
            contiguous(out_.data(), {case_.batch, case_.heads, case_.queries, case_.value_dim()}));
    }
    std::uniform_int_distribution<std::int64_t> any_row(
        0, case_.batch * case_.heads * case_.queries - 1);
    for (int i = 0; i < rows; ++i) worst = std::max(worst, row_error(any_row(random_)));
    return worst;
  }

  Problem problem;
  Array out;

 private:
  static constexpr double kDropout = 0.1;
  static constexpr std::int64_t kReach = 128;  ///< of the table of relative positions

  Numbers<T> numbers(std::int64_t count) {
    Numbers<T> values(static_cast<std::size_t>(case_.batch * count));
    std::normal_distribution<T> normal;
    std::ranges::generate(values, [&] { return normal(random_); });
    return values;
  }

  void take_value_from_key() {
    problem.value = problem.key;
    problem.value.shape[3] = case_.latent;
    problem.value_scales = problem.key_scales;
  }

  /// Moves an array into the type of the case, and leaves what it holds then; scales of int8.
  std::optional<Array> put(Array& array) {
    const Array wide = array;
    auto& bytes = stores_.emplace_back();
    const std::int64_t rows = array.shape[0] * array.shape[1] * array.shape[2];
    bytes.resize(static_cast<std::size_t>(rows * array.shape[3]) * size(case_.stored));
    array.data = bytes.data();
    array.writable = true;
    dense(array, case_.stored);
    if (case_.stored != DType::int8) {
      store(wide, array);
      store(array, wide);
      return std::nullopt;
    }
    auto& scales = scales_.emplace_back(static_cast<std::size_t>(rows));
    const Array view = contiguous(scales.data(), {array.shape[0], array.shape[1], array.shape[2]});
    store(wide, array, &view);
    for (std::int64_t i = 0; i < rows * array.shape[3]; ++i) {
      static_cast<T*>(wide.data)[i] =
          static_cast<T>(static_cast<std::int8_t>(bytes[static_cast<std::size_t>(i)])) *
          static_cast<T>(scales[static_cast<std::size_t>(i / array.shape[3])]);
    }
    return view;
  }

  /// Makes an array C-contiguous, of a type.
  static void dense(Array& array, DType dtype) {
    array.dtype = dtype;
    auto extent = static_cast<std::int64_t>(size(dtype));
    for (std::size_t axis = static_cast<std::size_t>(array.rank); axis-- > 0;) {
      array.strides[axis] = extent;
      extent *= array.shape[axis];
    }
  }

  Array array(T* data, std::int64_t heads, std::int64_t length) const {
    const Case& c = case_;
    if (!c.bnhd) return contiguous(data, {c.batch, heads, length, c.head_dim});
    Array a = contiguous(data, {c.batch, length, heads, c.head_dim});
    std::swap(a.shape[1], a.shape[2]);
    std::swap(a.strides[1], a.strides[2]);
    return a;
  }

  template <class Element>
  static double at(const Array& a, std::initializer_list<std::int64_t> index) {
    const char* p = static_cast<const char*>(a.data);
    std::size_t axis = 0;
    for (const std::int64_t i : index) p += i * a.strides[axis++];
    return static_cast<double>(*reinterpret_cast<const Element*>(p));
  }

  double row_error(std::int64_t row) const {
    const Case& c = case_;
    const std::int64_t i = row % c.queries, h = row / c.queries % c.heads,
                       b = row / c.queries / c.heads, kv = h / (c.heads / c.kv_heads);
    const std::int64_t position = i + c.keys - c.queries;
    const std::int64_t last = c.causal ? position : c.keys - 1;
    const std::int64_t first =
        c.window > 0 ? std::max<std::int64_t>(0, position - c.window + 1) : 0;
    double sum = c.sinks ? std::exp(problem.sinks->of(h)) : 0;
    std::vector<double> expected(static_cast<std::size_t>(c.value_dim()));
    for (std::int64_t j = first; j <= last; ++j) {
      if (c.mask && at<bool>(*problem.mask, {b, h, i, j}) == 0) continue;
      double score = 0;
      for (std::int64_t d = 0; d < c.head_dim; ++d) {
        score += at<T>(wide_[0], {b, h, i, d}) * at<T>(wide_[1], {b, kv, j, d});
      }
      score /= std::sqrt(static_cast<double>(c.head_dim));
      if (c.softcap) score = problem.softcap->of(h) * std::tanh(score / problem.softcap->of(h));
      if (c.alibi) {
        score -=
            at<double>(*problem.alibi_slopes, {h}) * static_cast<double>(std::abs(position - j));
      }
      if (c.relative) {
        const std::int64_t place = std::clamp(j - position, -kReach, kReach) + kReach;
        score += at<T>(problem.position_bias->table, {h, place});
      }
      if (c.bias) score += at<T>(*problem.bias, {b, h, i, j});
      double weight = std::exp(score);  // standard normal inputs: no overflow in double
      sum += weight;
      if (c.dropout) weight = dropped(b, h, i, j) ? 0 : weight / (1 - kDropout);
      for (std::int64_t d = 0; d < c.value_dim(); ++d) {
        expected[static_cast<std::size_t>(d)] += weight * at<T>(wide_[2], {b, kv, j, d});
      }
    }
    double worst = 0;
    for (std::int64_t d = 0; d < c.value_dim(); ++d) {
      const double wanted = sum == 0 ? 0 : expected[static_cast<std::size_t>(d)] / sum;
      worst = std::max(worst, std::abs(at<T>(wide_[3], {b, h, i, d}) - wanted));
    }
    return worst;
  }

  /// Philox4x32-10 at the place of the weight.
  bool dropped(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    std::uint32_t x[] = {static_cast<std::uint32_t>(j / 4), static_cast<std::uint32_t>(i),
                         static_cast<std::uint32_t>(h), static_cast<std::uint32_t>(b)};
    auto key0 = static_cast<std::uint32_t>(*problem.seed);
    auto key1 = static_cast<std::uint32_t>(*problem.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t first = 0xD2511F53ull * x[0], second = 0xCD9E8D57ull * x[2];
      x[0] = static_cast<std::uint32_t>(second >> 32) ^ x[1] ^ key0;
      x[1] = static_cast<std::uint32_t>(second);
      x[2] = static_cast<std::uint32_t>(first >> 32) ^ x[3] ^ key1;
      x[3] = static_cast<std::uint32_t>(first);
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    return x[j % 4] < std::nearbyint(kDropout * 4294967296.0);
  }

  Case case_;
  std::mt19937_64 random_;
  Numbers<T> query_, key_, value_, bias_, table_, out_;
  std::array<Array, 4> wide_;  ///< query, key, value and output in T
  std::vector<Numbers<char>> stores_;
  std::vector<std::vector<float>> scales_;
  std::vector<std::uint16_t> out_halves_;
  std::vector<double> slopes_;
  std::unique_ptr<bool[]> mask_;
};

}  // namespace regard::benchmark
