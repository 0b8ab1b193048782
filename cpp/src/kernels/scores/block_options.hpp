// The options of a block of rows, rows in the lanes: forward, weights, summary, gradients,
// tangents.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/order.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/mask.hpp"
#include "kernels/tiles/reach.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

/// Slopes of all options, by value, so that a loop over scores keeps them in registers.
template <class V>
struct Slopes {
  using T = typename V::scalar;
  static constexpr int most = OptionsInOrder<V>::slopes;
  Slope<T> of[most] = {};

  /// x times the slopes at the score `at` of key j, in the order of the options or backwards.
  template <bool BACKWARDS>
  typename V::reg multiply(typename V::reg x, std::int64_t at, std::int64_t j) const {
    REGARD_UNROLL
    for (int i = 0; i < most; ++i) {
      const Slope<T>& slope = of[BACKWARDS ? most - 1 - i : i];
      if (slope.by_score) x = V::mul(x, V::load(slope.by_score + at));
      if (slope.by_key) x = V::mul(x, V::set1(slope.by_key[j]));
    }
    return x;
  }
  bool any() const {
    bool some = false;
    for (const Slope<T>& slope : of) some |= slope.by_score || slope.by_key;
    return some;
  }
};

/// The options of a block of rows, rows in the lanes.
template <class V>
class ScoreOptions {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  ScoreOptions(const ScoreUnit& unit, ScratchMemory& memory) : u(unit), mask(unit) {
    const std::int64_t rows = (u.row_count + V::lanes - 1) / V::lanes * V::lanes;
    for_each_on([&]<class O>(O& option) {
      any |= O::changes_scores;
      can_hide |= O::hides_keys;
      by_tile |= O::by_tile;
      if constexpr (O::by_tile) option.take(memory, u.key_tile);
      option.set_rows(u, rows);
    });
  }

  bool any = false;       ///< some option changes scores
  bool can_hide = false;  ///< some option can hide keys
  bool by_tile = false;   ///< some option wants a tile at once

  /// Counts the scratch memory that the constructor takes.
  static void count(ScratchMemory& memory, std::int64_t key_tile, bool some_by_tile) {
    OptionsInOrder<V>::for_each_type([&]<class O>() {
      if constexpr (O::by_tile) {
        if (some_by_tile) O::count(memory, key_tile);
      }
    });
  }

  /// Numbers that `keep_slopes` needs, for scores of which there are so many.
  static std::int64_t slope_count(std::int64_t scores) {
    std::int64_t count = 0;
    OptionsInOrder<V>::for_each_type([&]<class O>() { count += O::keeps_slopes ? scores : 0; });
    return count;
  }

  /// Slopes are wanted of what lies at S, `scores` numbers.
  void keep_slopes(const T* S, T* memory, std::int64_t scores) {
    options.for_each([&]<class O>(O& option) {
      if constexpr (O::keeps_slopes) {
        if (O::is_on(u)) option.keep_slopes(S, memory);
        memory += scores;
      }
    });
  }

  /// Slopes are wanted of options that want a tile at once.
  void want_tile_slopes() {
    for_each_on([&]<class O>(O& option) {
      if constexpr (O::by_tile) option.want_slopes();
    });
  }
  /// Those of the last tile, laid out as the scores; null if there are none.
  const T* tile_slopes() {
    const T* slopes = nullptr;
    for_each_on([&]<class O>(O& option) {
      if constexpr (O::by_tile) slopes = option.tile_slopes();
    });
    return slopes;
  }

  /// Those of the scores that `apply` saw last.
  Slopes<V> slopes() {
    Slopes<V> all;
    int next = 0;
    options.for_each([&]<class O>(const O& option) {
      if constexpr (O::has_slope) {
        if (O::is_on(u)) all.of[next] = option.slope();
        ++next;
      }
    });
    return all;
  }

  /// Once a tile of keys, of elements of type Key.
  template <class Key>
  void set_keys(const Rows& keys, std::int64_t begin, std::int64_t count) {
    for_each_on([&](auto& option) { option.template set_keys<Key>(u, keys, begin, count); });
    tile = begin;
  }

  /// What the mask lets rows [row, row + rows) of the block see of the keys.
  Seen look(std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t count) {
    if (u.mask_kind == MaskKind::none) return Seen::all;
    return mask.look(row, rows, begin, count);
  }

  /// Once a panel and tile.
  void set_tile(std::int64_t row, std::int64_t rows, std::int64_t lanes, std::int64_t begin,
                std::int64_t count) {
    const TilePlace place = {row, rows, lanes, begin, count, begin - tile};
    for_each_on([&](auto& option) { option.set_tile(u, place); });
  }

  /// Fetches what will be wanted once the scores of the tile are there; n counts `steps` calls.
  void prefetch(std::int64_t keys, std::int64_t n, std::int64_t steps) {
    for_each_on([&](const auto& option) { option.prefetch(u, keys, n, steps); });
  }

  /// Scores of the keys [from, to) of the tile for one vector of rows, in place; returns their
  /// maximum.
  reg apply(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t from, std::int64_t to,
            const TileEdge<V>* edge, bool mixed) {
    reg largest = V::set1(minus_infinity<V>());
    for_each_step(St, ld, r, from, to, [&](const ScoreStep<T>& step) {
      for_each_on([&]<class O>(O& option) {
        if constexpr (O::changes_scores && !O::by_tile) option.apply(u, step);
      });
      largest = V::max(largest, hide(step, edge, mixed, minus_infinity<V>()));
    });
    return largest;
  }

  /// The same for all vectors of rows of a panel, one option after the other. `keys_of(r, from,
  /// to)` says which keys [from, to) count for the vector from r on.
  template <class KeysOf>
  REGARD_SMALL void apply_by_tile(T* St, std::ptrdiff_t ld, const KeysOf& keys_of,
                                  const TileEdge<V>* edge, bool mixed, T* maximum) {
    const auto for_each_row = [&](const auto& body) {
      for (std::int64_t r = 0; r < ld; r += V::lanes) {
        std::int64_t from, to;
        keys_of(r, from, to);
        for_each_step(St + r, ld, r, from, to, [&](const ScoreStep<T>& step) { body(step); });
      }
    };
    for_each_on([&]<class O>(O& option) {
      if constexpr (O::by_tile) {
        option.apply_tile(u, St, edge);
      } else if constexpr (O::changes_scores) {
        for_each_row([&](const ScoreStep<T>& step) { option.apply(u, step); });
      }
    });
    for_each_row([&](const ScoreStep<T>& step) {
      const reg largest = hide(step, edge, mixed, minus_infinity<V>());
      V::store(maximum + step.r, V::max(V::load(maximum + step.r), largest));
    });
  }

  /// Gives the weights of hidden scores the value -0, in place (is_hidden in softmax.hpp).
  void mark_hidden(T* Pt, std::ptrdiff_t ld, std::int64_t r, std::int64_t from, std::int64_t to,
                   const TileEdge<V>* edge, bool mixed) {
    for_each_step(Pt, ld, r, from, to, [&](const ScoreStep<T>& step) {
      for_each_on([&]<class O>(O& option) {
        if constexpr (O::hides_keys) option.mark_hidden(step);
      });
      hide(step, edge, mixed, -T(0));
    });
  }

 private:
  const ScoreUnit& u;
  std::int64_t tile = 0;
  OptionsInOrder<V> options;
  MaskTile<V> mask;

  template <class Body>
  void for_each_on(const Body& body) {
    options.for_each([&]<class O>(O& option) {
      if (O::is_on(u)) body(option);
    });
  }

  template <class Body>
  static void for_each_step(T* St, std::ptrdiff_t ld, std::int64_t r, std::int64_t from,
                            std::int64_t to, const Body& body) {
    static_assert(kScoreStep == MaskTile<V>::keys);
    for (std::int64_t j = from; j < to; j += kScoreStep) {
      body(ScoreStep<T>{St + j * ld, ld, r, j, to - j < kScoreStep ? to - j : kScoreStep});
    }
  }

  /// `hidden` where the mask or the position hides the key; returns the maximum of the result.
  reg hide(const ScoreStep<T>& step, const TileEdge<V>* edge, bool mixed, T hidden) {
    if (mixed) mask.gather(step.r, step.j, step.count);
    const reg instead = V::set1(hidden);
    reg largest = V::set1(minus_infinity<V>());
    if (!mixed && !edge) {
      for (std::int64_t j = 0; j < step.count; ++j) {
        largest = V::max(largest, V::load(step.St + j * step.ld));
      }
      return largest;
    }
    for (std::int64_t j = 0; j < step.count; ++j) {
      reg s = V::load(step.St + j * step.ld);
      if (mixed) s = V::select(V::nonzero_bytes(mask.flags(j)), s, instead);
      if (edge) s = edge->select(s, instead, step.r, step.j + j);
      V::store(step.St + j * step.ld, s);
      largest = V::max(largest, s);
    }
    return largest;
  }
};

}  // namespace
}  // namespace regard::kernels
