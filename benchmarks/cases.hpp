// The problems that are measured. Names, shapes and what counts as useful work are those of
// `regard bench` (python/regard/bench/cases.py).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "regard/attention.hpp"

namespace regard::benchmark {

struct Case {
  const char* name;
  std::int64_t batch, heads, kv_heads, queries, keys, head_dim;
  bool float64 = false, causal = false, bnhd = false, mask = false, bias = false;
  std::int64_t window = 0;  ///< keys a causal query sees, itself included; 0 is all
  bool softcap = false, alibi = false, sinks = false, dropout = false, relative = false;

  /// (query, key) pairs a head whose score is useful; a square causal case counts as half.
  double pairs() const {
    const auto n = static_cast<double>(queries), m = static_cast<double>(keys);
    if (window > 0) {
      const double w = std::min(static_cast<double>(window), n);
      return w * n - w * (w - 1) / 2;
    }
    return causal ? n * m / 2 : n * m;
  }

  /// Useful operations of a call: two products, a multiply and an add each.
  double flops() const { return 4.0 * static_cast<double>(batch * heads * head_dim) * pairs(); }
};

inline std::vector<Case> all_cases() {
  std::vector<Case> cases;
  const auto square = [&](const char* name, std::int64_t heads, std::int64_t length,
                          std::int64_t head_dim) -> Case& {
    return cases.emplace_back(Case{name, 1, heads, heads, length, length, head_dim});
  };
  square("full-1k-d64", 8, 1024, 64);
  square("full-4k-d64", 8, 4096, 64);
  square("full-2k-d128-gqa4", 16, 2048, 128).kv_heads = 4;
  square("full-1k-d80", 8, 1024, 80);
  square("full-1k-d96", 8, 1024, 96);
  square("full-1021-d64", 8, 1021, 64);
  square("full-1k-d64-bnhd", 8, 1024, 64).bnhd = true;
  square("causal-256-d64", 8, 256, 64).causal = true;
  square("causal-1k-d64", 8, 1024, 64).causal = true;
  square("causal-4k-d64", 8, 4096, 64).causal = true;
  Case& grouped = square("causal-2k-d128-gqa4", 16, 2048, 128);
  grouped.kv_heads = 4;
  grouped.causal = true;
  square("bert-8x12x128", 12, 128, 64).batch = 8;
  square("vit-8x12x197", 12, 197, 64).batch = 8;
  square("minilm-32x12x64", 12, 64, 32).batch = 32;
  square("full-1k-d64-float64", 8, 1024, 64).float64 = true;
  square("mask-random-1k-d64", 8, 1024, 64).mask = true;
  square("bias-1k-d64", 8, 1024, 64).bias = true;
  for (const auto& [name, window] :
       {std::pair{"window-128-of-4k", 128}, {"window-256-of-4k", 256}, {"window-512-of-4k", 512}}) {
    Case& c = square(name, 8, 4096, 64);
    c.causal = true;
    c.window = window;
  }
  cases.push_back({"decode-4k-d128-gqa4", 1, 32, 8, 1, 4096, 128});
  cases.push_back({"decode-8x12-1k-d64", 8, 12, 12, 1, 1024, 64});
  for (const auto& [name, option] : {std::pair{"option-softcap", &Case::softcap},
                                     {"option-alibi", &Case::alibi},
                                     {"option-sinks", &Case::sinks},
                                     {"option-dropout", &Case::dropout},
                                     {"option-relative", &Case::relative},
                                     {"option-bias", &Case::bias}}) {
    Case& c = square(name, 8, 4096, 64);
    c.causal = true;
    c.*option = true;
  }
  square("smallest-call", 1, 4, 2);
  return cases;
}

/// The memory of a case and the problem that points into it; T is float or double.
template <class T>
class Inputs {
 public:
  Inputs(const Case& c, std::uint64_t seed) : case_(c), random_(seed) {
    query_ = numbers(c.heads * c.queries * c.head_dim);
    key_ = numbers(c.kv_heads * c.keys * c.head_dim);
    value_ = numbers(c.kv_heads * c.keys * c.head_dim);
    out_.resize(query_.size());
    problem.query = array(query_.data(), c.heads, c.queries);
    problem.key = array(key_.data(), c.kv_heads, c.keys);
    problem.value = array(value_.data(), c.kv_heads, c.keys);
    out = contiguous(out_.data(), {c.batch, c.heads, c.queries, c.head_dim});
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
      const std::vector<T> sinks = numbers(c.heads);
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

  std::vector<T> numbers(std::int64_t count) {
    std::vector<T> values(static_cast<std::size_t>(case_.batch * count));
    std::normal_distribution<T> normal;
    std::ranges::generate(values, [&] { return normal(random_); });
    return values;
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
    std::vector<double> expected(static_cast<std::size_t>(c.head_dim));
    for (std::int64_t j = first; j <= last; ++j) {
      if (c.mask && at<bool>(*problem.mask, {b, h, i, j}) == 0) continue;
      double score = 0;
      for (std::int64_t d = 0; d < c.head_dim; ++d) {
        score += at<T>(problem.query, {b, h, i, d}) * at<T>(problem.key, {b, kv, j, d});
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
      for (std::int64_t d = 0; d < c.head_dim; ++d) {
        expected[static_cast<std::size_t>(d)] += weight * at<T>(problem.value, {b, kv, j, d});
      }
    }
    double worst = 0;
    for (std::int64_t d = 0; d < c.head_dim; ++d) {
      const double wanted = sum == 0 ? 0 : expected[static_cast<std::size_t>(d)] / sum;
      worst = std::max(worst, std::abs(at<T>(out, {b, h, i, d}) - wanted));
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
  std::vector<T> query_, key_, value_, bias_, table_, out_;
  std::vector<double> slopes_;
  std::unique_ptr<bool[]> mask_;
};

}  // namespace regard::benchmark
