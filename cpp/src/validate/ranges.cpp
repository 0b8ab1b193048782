// Options that are finite as the caller gives them, in double, and may not be in the type that
// scores are computed in: refused by name, or replaced by what they tend to. (Factors of a query
// are data, and what is too large makes the scores of that query so.)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numbers>
#include <string>

#include "validate/validate_parts.hpp"

namespace regard {
namespace {

/// Bounds of the compute type. Scores are in base 2 there, so options come times log2(e).
class ComputeRange {
 public:
  explicit ComputeRange(DType dtype) : single_(dtype == DType::float32) {}
  double largest() const { return single_ ? kFloat : kDouble; }
  /// The smallest number whose inverse is finite, and which has all its digits.
  double smallest() const { return single_ ? 0x1p-126 : 0x1p-1022; }
  bool holds(double x) const {
    const double in_base_2 = x * std::numbers::log2e;
    return single_ ? std::isfinite(static_cast<float>(in_base_2)) : std::isfinite(in_base_2);
  }
  /// Distances up to here are whole numbers of the type.
  std::int64_t exact() const { return std::int64_t{1} << (single_ ? 24 : 53); }

 private:
  static constexpr double kFloat = std::numeric_limits<float>::max();
  static constexpr double kDouble = std::numeric_limits<double>::max();
  bool single_;
};

std::string written(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", x);
  return text;
}

[[noreturn]] void refuse(const std::string& problem, const CheckedProblem& checked,
                         const Problem& p) {
  const ComputeRange range(checked.dtype);
  const bool single = checked.dtype == DType::float32;
  throw ValueError(message(
      problem + ", beyond what " + name(checked.dtype) + " holds.", {show_query(p)},
      "Scores are computed in " + std::string(name(checked.dtype)) +
          ": give numbers of a magnitude below " + written(range.largest() / std::numbers::log2e) +
          (single ? ", or float64 arrays." : ".")));
}

void check_scale(const Problem& p, const CheckedProblem& checked, const ComputeRange& range) {
  if (!p.scale) return;
  for (const double scale : p.scale->values()) {
    if (!range.holds(scale)) refuse("scale is " + written(scale), checked, p);
  }
}

/// A cap that no score can reach is none. One below the smallest numbers leaves nothing of a score,
/// as the smallest does, whose inverse is still finite.
void fit_softcap(CheckedProblem& checked, const ComputeRange& range) {
  for (double& cap : checked.softcap) {
    if (!range.holds(cap)) cap = 0;
    if (cap > 0) cap = std::max(cap, range.smallest());
  }
  const bool off = std::ranges::all_of(checked.softcap, [](double cap) { return cap == 0; });
  if (off) checked.softcap.clear();
}

void check_sinks(const Problem& p, const CheckedProblem& checked, const ComputeRange& range) {
  for (const double sink : checked.sinks) {
    if (sink > 0 && !range.holds(sink)) refuse("sinks holds " + written(sink), checked, p);
  }
}

/// How far the keys of a batch element are at least from the query that is closest to them.
std::int64_t least_distance(const CheckedProblem& checked, std::int64_t element) {
  const std::int64_t offset = checked.offset_of(element);
  const std::int64_t behind = far_sum(offset, 1 - checked.keys_of(element));
  const std::int64_t ahead = -far_sum(offset, checked.queries_of(element) - 1);
  return std::max<std::int64_t>({behind, ahead, 0});
}

void check_alibi(const Problem& p, const CheckedProblem& checked, const ComputeRange& range) {
  for (const double slope : checked.alibi) {
    if (!range.holds(slope)) refuse("alibi_slopes holds " + written(slope), checked, p);
  }
  if (checked.alibi.empty() || checked.query_offsets.empty()) return;
  for (std::int64_t element = 0; element < checked.batch; ++element) {
    if (least_distance(checked, element) <= range.exact()) continue;
    throw ValueError(
        message("query_offset is " +
                    std::to_string(checked.query_offsets[static_cast<std::size_t>(element)]) +
                    ", too far from the keys for alibi_slopes.",
                {show_query(p), show_key(p)},
                std::string(name(checked.dtype)) + " tells distances apart up to " +
                    std::to_string(range.exact()) + ": give an offset closer to the keys."));
  }
}

}  // namespace

void check_ranges(const Problem& p, CheckedProblem& checked) {
  const ComputeRange range(checked.dtype);
  check_scale(p, checked, range);
  fit_softcap(checked, range);
  check_sinks(p, checked, range);
  check_alibi(p, checked, range);
}

}  // namespace regard
