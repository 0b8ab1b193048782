// Options that are numbers, one for all heads or one a head.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

template <class T>
void check_heads(const char* argument, const PerHead<T>& numbers, const Problem& p,
                 const CheckedProblem& checked) {
  const auto count = static_cast<std::int64_t>(numbers.values().size());
  if (numbers.is_one() || count == checked.query_heads) return;
  throw ValueError(message(std::string(argument) + " has " + std::to_string(count) +
                               " numbers for " + std::to_string(checked.query_heads) + " heads.",
                           {show_query(p)},
                           "Give one number for each head of query, or one for all."));
}

/// One number a head, as kernels read them.
std::vector<double> expand(const char* argument, const PerHead<double>& numbers, const Problem& p,
                           const CheckedProblem& checked) {
  check_heads(argument, numbers, p, checked);
  std::vector<double> expanded(static_cast<std::size_t>(checked.query_heads));
  for (std::int64_t head = 0; head < checked.query_heads; ++head) {
    expanded[static_cast<std::size_t>(head)] = numbers.of(head);
  }
  return expanded;
}

template <class T>
HeadNumbers<T> of_heads(const PerHead<T>& numbers) {
  const auto values = numbers.values();
  if (values.empty()) return {T(0), {}};
  if (values.size() == 1) return {values.front(), {}};
  return {values.front(), {values.begin(), values.end()}};
}

HeadNumbers<std::int64_t> reach(const std::optional<PerHead<std::int64_t>>& given, const Problem& p,
                                const CheckedProblem& checked) {
  if (!given) return {kUnbounded, {}};
  check_heads("window", *given, p, checked);
  HeadNumbers<std::int64_t> reach = of_heads(*given);
  reach.one = std::max(reach.one, -kFarthest);
  for (auto& keys : reach.each) keys = std::max(keys, -kFarthest);
  return reach;
}

/// Causal is a window with nothing to the right, so both end up in left and right.
void check_positions(const Problem& p, CheckedProblem& checked) {
  checked.left = reach(p.window_left, p, checked);
  checked.right = reach(p.window_right, p, checked);
  if (p.causal != Causal::none) {
    HeadNumbers<std::int64_t>& right = checked.right;
    right.one = std::min<std::int64_t>(right.one, 0);
    for (auto& keys : right.each) keys = std::min<std::int64_t>(keys, 0);
    // Heads that do not differ share a pass over their keys.
    if (std::ranges::all_of(right.each, [&](auto keys) { return keys == right.one; })) {
      right.each.clear();
    }
  }
  checked.upper_left = p.causal == Causal::upper_left;
}

void check_scale(const Problem& p, CheckedProblem& checked) {
  checked.cosine = p.cosine;
  const double usual = p.cosine ? 1 : 1 / std::sqrt(static_cast<double>(checked.head_dim));
  checked.scale = {usual, {}};
  if (!p.scale) return;
  check_heads("scale", *p.scale, p, checked);
  checked.scale = of_heads(*p.scale);
  if (!std::ranges::all_of(p.scale->values(), [](double x) { return std::isfinite(x); })) {
    throw ValueError(message("scale is not finite.", {},
                             "Give any finite number, or None for 1 / sqrt(head_dim)."));
  }
}

void check_query_scale(const Problem& p, CheckedProblem& checked) {
  if (!p.query_scale) return;
  const Array& scale = *p.query_scale;
  constexpr const char* axes[] = {"heads", "queries"};
  const Shown shown = {"query_scale", scale, axes};
  if (scale.dtype != DType::float64) {
    throw TypeError(message(std::string("query_scale has dtype ") + name(scale.dtype) + ".",
                            {shown}, "Use float64."));
  }
  const bool packed = !checked.query_starts.empty();
  const std::int64_t queries = packed ? checked.query_starts.back() : checked.queries;
  const auto leading = scale.dims().first(static_cast<std::size_t>(std::max(scale.rank - 1, 0)));
  const bool fits = (axis(scale, 0) == 1 || axis(scale, 0) == queries) &&
                    leading_axes_fit(leading, checked) && (!packed || scale.rank <= 2);
  if (!fits) {
    throw ValueError(message("query_scale does not broadcast to the batch axes, " +
                                 std::to_string(checked.query_heads) + " heads and " +
                                 std::to_string(queries) + " queries.",
                             {shown, show_query(p)},
                             "Give one factor a query: (queries,), (heads, queries) or (batch, "
                             "heads, queries); axes of 1 broadcast."));
  }
  checked.query_scale = align(scale, checked, 1);
  if (packed) checked.query_scale.batch_strides.fill(0);
}

void check_softcap(const Problem& p, CheckedProblem& checked) {
  if (!p.softcap) return;
  for (const double cap : p.softcap->values()) {
    if (std::isfinite(cap) && cap >= 0) continue;
    throw ValueError(message("softcap is " + std::to_string(cap) + ".", {},
                             "Give a finite number above 0, or None or 0 for no cap."));
  }
  checked.softcap = expand("softcap", *p.softcap, p, checked);
  const bool off = std::ranges::all_of(checked.softcap, [](double cap) { return cap == 0; });
  if (off) checked.softcap.clear();
}

void check_sinks(const Problem& p, CheckedProblem& checked) {
  if (!p.sinks) return;
  for (const double sink : p.sinks->values()) {
    if (sink < std::numeric_limits<double>::infinity()) continue;
    throw ValueError(message("sinks holds " + std::to_string(sink) + ".", {},
                             "Give finite numbers, or -inf for a head that has none."));
  }
  checked.sinks_given = true;
  checked.sinks = expand("sinks", *p.sinks, p, checked);
}

void check_alibi(const Problem& p, CheckedProblem& checked) {
  if (!p.alibi_slopes) return;
  const Array& slopes = *p.alibi_slopes;
  constexpr const char* axes[] = {"heads"};
  const Shown shown = {"alibi_slopes", slopes, axes};
  if (slopes.dtype != DType::float64) {
    throw TypeError(message(std::string("alibi_slopes has dtype ") + name(slopes.dtype) + ".",
                            {shown}, "Use float64."));
  }
  if (!leading_axes_fit(slopes.dims(), checked)) {
    throw ValueError(message("alibi_slopes of shape " + tuple(slopes.dims()) +
                                 " does not broadcast to the batch axes and " +
                                 std::to_string(checked.query_heads) + " heads.",
                             {show_query(p)},
                             "Give one slope a head of query: (heads,) or (batch, heads)."));
  }
  checked.alibi_given = true;
  checked.alibi.resize(static_cast<std::size_t>(checked.batch * checked.query_heads));
  for (std::int64_t at = 0; at < checked.batch * checked.query_heads; ++at) {
    const char* from = static_cast<const char*>(slopes.data) +
                       at % checked.query_heads * stride(slopes, 0) +
                       checked.batch_offset(at / checked.query_heads,
                                            [&](int i) { return stride(slopes, 1 + i); });
    double& slope = checked.alibi[static_cast<std::size_t>(at)];
    __builtin_memcpy(&slope, from, sizeof slope);
    if (!std::isfinite(slope)) {
      throw ValueError(message("alibi_slopes holds " + std::to_string(slope) + ".", {},
                               "Give finite slopes; regard.alibi_slopes(heads) makes the usual "
                               "ones."));
    }
  }
}

void check_score_mod(const Problem& p, CheckedProblem& checked) {
  const auto check = [](const char* argument, const ScoreFunction& f) {
    if ((f.rows == nullptr) == (f.tile == nullptr)) {
      throw ValueError(message(std::string(argument) + " has no function, or two.", {},
                               "Give one of rows, the address of a function, and tile."));
    }
  };
  if (p.score_mod_gradient && !p.score_mod) {
    throw ValueError(message("score_mod_gradient is given without score_mod.", {},
                             "Give the function that it is the gradient of."));
  }
  if (p.score_mod) check("score_mod", checked.score_mod = *p.score_mod);
  if (p.score_mod_gradient) {
    check("score_mod_gradient", checked.score_mod_gradient = *p.score_mod_gradient);
  }
}

void check_dropout(const Problem& p, CheckedProblem& checked) {
  if (!(p.dropout >= 0 && p.dropout < 1)) {
    throw ValueError(message("dropout is " + std::to_string(p.dropout) + ".", {},
                             "Give the share of weights to drop: at least 0, below 1."));
  }
  if (p.dropout == 0) return;
  if (!p.seed) {
    throw ValueError(message("dropout needs a seed.", {},
                             "Give seed=, an integer: the same seed drops the same weights."));
  }
  checked.dropout.seed = *p.seed;
  checked.dropout.head = static_cast<std::uint32_t>(p.dropout_head);
  checked.dropout.query = static_cast<std::uint32_t>(p.dropout_query);
  checked.dropout.key = p.dropout_key;
  const double words = std::nearbyint(p.dropout * 4294967296.0);
  checked.dropout.threshold = static_cast<std::uint32_t>(std::min(words, 4294967295.0));
  checked.dropout.keep_factor = 1 / (1 - p.dropout);
}

}  // namespace

void check_numbers(const Problem& p, CheckedProblem& checked) {
  check_positions(p, checked);
  check_scale(p, checked);
  check_query_scale(p, checked);
  check_softcap(p, checked);
  check_sinks(p, checked);
  check_alibi(p, checked);
  check_score_mod(p, checked);
  check_dropout(p, checked);
}

}  // namespace regard
