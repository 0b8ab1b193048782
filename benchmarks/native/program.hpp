// What the native benchmarks share: options, timing, output.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>

#include "inputs.hpp"

namespace regard::benchmark {

struct Options {
  std::string isa{active_isa()}, filter, json;
  int threads = default_thread_count();
  double seconds = 1;  ///< a case, roughly
};

struct Result {
  const Case* problem;
  double seconds, rate, ceiling, error;  ///< GFLOP/s, or GB/s of decode
  double percent() const { return 100 * rate / ceiling; }
  const char* unit() const { return problem->decodes() ? "GB/s" : "GFLOP/s"; }
};

inline double elapsed(const std::function<void()>& call, int times) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) call();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return seconds.count() / times;
}

inline double median(std::vector<double> samples) {
  std::ranges::sort(samples);
  return samples[samples.size() / 2];
}

/// Times `call`: median of samples in three rounds, with the ceiling measured in each.
inline Result time_case(const Case& c, const Options& options, double work,
                        const std::function<void()>& call) {
  call();
  // A sample lasts 200 us at least, a hundred times what reading the clock may be off by.
  const double once = elapsed(call, 1);
  const int inner = std::max(1, static_cast<int>(200e-6 / once));
  const int rounds = 3;
  const int count = std::clamp(static_cast<int>(options.seconds / (rounds * once * inner)), 3, 100);
  double ceiling = 0;
  std::vector<double> samples;
  for (int round = 0; round < rounds; ++round) {
    const auto bytes = static_cast<std::int64_t>(c.bytes());
    const DType element = c.float64                     ? DType::float64
                          : c.stored == DType::bfloat16 ? DType::bfloat16
                                                        : DType::float32;
    ceiling = std::max(ceiling, c.decodes() ? read_bandwidth(bytes, options.threads)
                                            : fma_ceiling(options.isa, element, options.threads));
    elapsed(call, inner);  // caches and clock as a caller in a loop has them
    for (int i = 0; i < count; ++i) samples.push_back(elapsed(call, inner));
  }
  const double seconds = median(samples);
  return {&c, seconds, work / seconds / 1e9, ceiling / 1e9, 0};
}

inline void print(const Result& r) {
  std::printf("%-27s %10.4f ms %8.1f %-7s %6.1f %% of %6.1f   error %.1e\n", r.problem->name,
              1e3 * r.seconds, r.rate, r.unit(), r.percent(), r.ceiling, r.error);
  std::fflush(stdout);
}

inline void write_json(const std::string& path, const Options& options,
                       const std::vector<Result>& results) {
  std::ofstream file(path);
  file << "{\"schema\": 1, \"kind\": \"native\", \"version\": \"" << version()
       << "\", \"compiler\": \"" << compiler() << "\", \"isa\": \"" << options.isa
       << "\", \"threads\": " << options.threads << ", \"cases\": [";
  const char* separator = "\n";
  for (const Result& r : results) {
    file << separator << " {\"name\": \"" << r.problem->name
         << "\", \"milliseconds\": " << 1e3 * r.seconds << ", \"rate\": " << r.rate
         << ", \"unit\": \"" << r.unit() << "\", \"ceiling\": " << r.ceiling
         << ", \"percent\": " << r.percent() << ", \"max_error\": " << r.error << "}";
    separator = ",\n";
  }
  file << "\n]}\n";
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

inline constexpr const char* kUsage =
    "[--isa NAME] [--threads N] [--filter TEXT] [--seconds S] [--json FILE]\n"
    "  --filter   only cases whose name holds TEXT\n"
    "  --seconds  time for a case, roughly (default 1)\n";

inline Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; i += 2) {
    const std::string word = words[i];
    if (i + 1 == count) throw std::invalid_argument(kUsage);
    const std::string value = words[i + 1];
    if (word == "--isa")
      options.isa = value;
    else if (word == "--threads")
      options.threads = std::stoi(value);
    else if (word == "--filter")
      options.filter = value;
    else if (word == "--seconds")
      options.seconds = std::stod(value);
    else if (word == "--json")
      options.json = value;
    else
      throw std::invalid_argument(kUsage);
  }
  return options;
}

/// Runs `measure`, made for float and double, on the chosen cases of a list.
template <class Measure>
int run(int count, char** words, const std::vector<Case>& cases, const Measure& measure) try {
  const Options options = parse(count, words);
  set_isa(options.isa);
  std::printf("regard %s, %s, %s, %d thread%s\n", version(), compiler(), options.isa.c_str(),
              options.threads, options.threads == 1 ? "" : "s");
  std::vector<Result> results;
  for (const Case& c : cases) {
    if (std::string(c.name).find(options.filter) == std::string::npos) continue;
    results.push_back(c.float64 ? measure.template operator()<double>(c, options)
                                : measure.template operator()<float>(c, options));
    print(results.back());
  }
  if (results.empty()) throw std::invalid_argument("no case is called " + options.filter);
  if (!options.json.empty()) write_json(options.json, options, results);
  // Wrong results are not worth timing; float rounding is 1e-7, that of 16 bits up to 2^-8 of the
  // largest values.
  for (const Result& r : results) {
    const bool half = r.problem->stored == DType::bfloat16 || r.problem->stored == DType::float16;
    const double limit = r.problem->float64 ? 1e-13 : half ? 0.05 : 1e-4;
    if (!(r.error < limit)) throw std::runtime_error("wrong result");
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

}  // namespace regard::benchmark
