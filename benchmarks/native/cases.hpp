// The problems that are measured. Names, shapes and what counts as useful work are those of
// `regard bench` (python/regard/bench/cases.py and case.py).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "regard/array.hpp"

namespace regard::benchmark {

struct Case {
  const char* name;
  std::int64_t batch, heads, kv_heads, queries, keys, head_dim;
  bool float64 = false, causal = false, bnhd = false, mask = false, bias = false;
  std::int64_t window = 0;  ///< keys a causal query sees, itself included; 0 is all
  bool softcap = false, alibi = false, sinks = false, dropout = false, relative = false;
  DType stored = DType::float32;  ///< of query, key and value; of key and value alone if int8
  std::int64_t latent = 0;  ///< columns of a key that are its value too; 0: values of their own

  /// (query, key) pairs a head whose score is useful; a square causal case counts as half.
  double pairs() const {
    const auto n = static_cast<double>(queries), m = static_cast<double>(keys);
    if (window > 0) {
      const double w = std::min(static_cast<double>(window), n);
      return w * n - w * (w - 1) / 2;
    }
    return causal ? n * m / 2 : n * m;
  }

  std::int64_t value_dim() const { return latent > 0 ? latent : head_dim; }

  /// Whether reading keys and values sets the limit. Latent ones are read once for all heads.
  bool decodes() const { return queries == 1 && keys > 1 && latent == 0; }

  /// Bytes of keys and values, and of their scales: what decode has to read.
  double bytes() const {
    const auto dim = static_cast<double>(head_dim);
    const double row =
        dim * static_cast<double>(size(stored)) + (stored == DType::int8 ? sizeof(float) : 0);
    return (latent > 0 ? 1 : 2) * static_cast<double>(batch * kv_heads * keys) * row;
  }

  /// Useful operations of a call: two products, a multiply and an add each.
  double flops() const {
    return 2.0 * static_cast<double>(batch * heads * (head_dim + value_dim())) * pairs();
  }
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
  for (const auto& [names, stored] :
       {std::pair{
            std::array{"bf16-1k-d64", "bf16-4k-d64", "bf16-4k-d64-causal", "bf16-2k-d128-gqa4"},
            DType::bfloat16},
        {std::array{"f16-1k-d64", "f16-4k-d64", "f16-4k-d64-causal", "f16-2k-d128-gqa4"},
         DType::float16}}) {
    square(names[0], 8, 1024, 64).stored = stored;
    square(names[1], 8, 4096, 64).stored = stored;
    Case& causal = square(names[2], 8, 4096, 64);
    causal.stored = stored;
    causal.causal = true;
    Case& wide = square(names[3], 16, 2048, 128);
    wide.stored = stored;
    wide.kv_heads = 4;
  }
  for (const auto& [names, stored] :
       {std::pair{std::array{"decode-4k-d128-gqa4", "decode-8x12-1k-d64", "decode-8x-4k-d128-gqa4"},
                  DType::float32},
        {std::array{"decode-4k-d128-gqa4-bf16", "decode-8x12-1k-d64-bf16",
                    "decode-8x-4k-d128-gqa4-bf16"},
         DType::bfloat16},
        {std::array{"decode-4k-d128-gqa4-f16", "decode-8x12-1k-d64-f16",
                    "decode-8x-4k-d128-gqa4-f16"},
         DType::float16},
        {std::array{"decode-4k-d128-gqa4-int8", "decode-8x12-1k-d64-int8",
                    "decode-8x-4k-d128-gqa4-int8"},
         DType::int8}}) {
    cases.push_back(Case{names[0], 1, 32, 8, 1, 4096, 128});
    cases.push_back(Case{names[1], 8, 12, 12, 1, 1024, 64});
    cases.push_back(Case{names[2], 8, 32, 8, 1, 4096, 128});
    for (std::size_t i = cases.size() - 3; i < cases.size(); ++i) cases[i].stored = stored;
  }
  for (const auto& [names, stored] :
       {std::pair{std::array{"latent-128x4k", "latent-128x32k"}, DType::float32},
        {std::array{"latent-128x4k-bf16", "latent-128x32k-bf16"}, DType::bfloat16},
        {std::array{"latent-128x4k-int8", "latent-128x32k-int8"}, DType::int8}}) {
    for (const auto& [name, keys] : {std::pair{names[0], 4096}, {names[1], 32768}}) {
      Case& c = cases.emplace_back(Case{name, 1, 128, 1, 1, keys, 576});
      c.latent = 512;
      c.stored = stored;
    }
  }
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

}  // namespace regard::benchmark
