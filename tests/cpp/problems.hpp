// Random problems with memory of their own, run by the library and held against the oracle.
#pragma once

#include <memory>
#include <string>

#include "arrays.hpp"
#include "oracle.hpp"
#include "regard/attention.hpp"

namespace regard::test {

/// Makes calls use an ISA while it lives.
class UseIsa {
 public:
  explicit UseIsa(std::string_view name) : before_(active_isa()) { set_isa(name); }
  ~UseIsa() { set_isa(before_); }
  UseIsa(const UseIsa&) = delete;
  UseIsa& operator=(const UseIsa&) = delete;

 private:
  std::string before_;
};

/// What a problem looks like; the rest is drawn.
struct Spec {
  DType dtype = DType::float32;                 ///< of query, and of key and value if not given
  std::optional<DType> key_dtype, value_dtype;  ///< int8 has scales
  Index batch = {};
  std::int64_t kv_heads = 1, group = 1, queries = 1, keys = 1, head_dim = 1, value_dim = 1;
  bool mask = false, bias = false, lengths = false, query_scale = false, score_mod = false;
  Causal causal = Causal::none;
  std::optional<std::int64_t> left, right;
  std::optional<double> scale;
  Layout layout = Layout::contiguous;
};

/// How many problems to draw where `count` are usual: one of REGARD_SAMPLE, if that is set, where
/// each takes long. With REGARD_SMALL they are small too: what an instruction set under an emulator
/// can do otherwise shows in vectors, their tails and 16-bit floats, not in longer sequences.
int sample(int count);

/// Shapes round the edges of vectors, panels and tiles, and any combination of options.
Spec draw_spec(Random& random, DType dtype, Layout layout);

/// The same with query, key and value of any types that go together.
Spec draw_types(Random& random, Spec spec);

std::string describe(const Spec& spec);

/// A drawn problem, its memory and its outputs. Shapes, numbers and memory are drawn apart, so that
/// the same seed gives the same problem in any layout.
class Case {
 public:
  Case(const Spec& spec, std::uint64_t seed);

  Problem& problem() { return problem_; }
  const Buffer& out() const { return *out_; }
  const Buffer& lse() const { return *lse_; }

  /// Runs the problem by the active ISA.
  void run();

  /// Outputs against the oracle, guards untouched. Returns the largest error as a part of its
  /// bound.
  double check() const;

  /// Puts NaN and Inf wherever nothing may look: keys, values and biases that no row sees, queries
  /// that see no key. Memory that broadcast axes share counts as seen if anyone sees it.
  void poison_unseen();

  /// Puts a NaN into one key and one value, whoever sees them.
  void poison_one();

 private:
  template <class Body>
  void for_each_head(const Body& body) const;
  Index broadcast(Index shape);
  std::unique_ptr<Buffer> input(DType dtype, const Index& last);
  std::unique_ptr<Buffer> stored(DType dtype, const Index& last, std::unique_ptr<Buffer>& scales);
  std::unique_ptr<Buffer> score_input(DType dtype, std::int64_t heads);

  Spec spec_;
  Random shapes_, numbers_, places_;
  std::unique_ptr<Buffer> query_, key_, value_, mask_, bias_, lengths_, out_, lse_, key_scales_,
      value_scales_, query_scale_;
  Problem problem_;
};

}  // namespace regard::test
