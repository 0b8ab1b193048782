// The k best keys of each row of a block, best first; of equal scores the earlier key comes first.
#pragma once

#include <cstdint>

#include "kernels/simd/base2.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/reach.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

template <class V>
class TopKeys {
  using T = typename V::scalar;

 public:
  TopKeys(std::int64_t count, ScratchMemory& memory) : k(count) {
    take(memory, k, scores, keys);
    clear();
    // With k = 0 nothing is better than the worst.
    for (auto& x : worst) x = k > 0 ? minus_infinity<V>() : -minus_infinity<V>();
  }

  static void count(ScratchMemory& memory, std::int64_t k) {
    T* scores;
    std::int64_t* keys;
    take(memory, k, scores, keys);
  }

  /// Offers one key to the rows in a vector; its scores s are also at `at`. Taken if better than
  /// the k best so far.
  void offer(typename V::reg s, const T* at, std::int64_t row, std::int64_t key) {
    if (V::any(V::less(V::load(worst + row), s))) insert(at, row, key);
  }

  /// Forgets the keys offered so far, of which every row has k as good as its k-th best, so that
  /// none below that one need be taken any more. Offering the best of each tile first spares most
  /// insertions, and the branch in `offer` is then seldom taken.
  void start_from_bounds() {
    for (std::int64_t r = 0; k > 0 && r < V::query_block; ++r) {
      const T bound = scores[r * k + k - 1];
      const T slack = static_cast<T>(1e-6) * (bound < 0 ? -bound : bound) + static_cast<T>(1e-30);
      worst[r] = bound - slack;  // below the bound, which is still to be taken; -inf stays
    }
    clear();
  }

  void get(std::int64_t row, std::int64_t rank, T& score, std::int64_t& key) const {
    score = scores[row * k + rank];
    key = keys[row * k + rank];
  }

 private:
  std::int64_t k;
  T* scores;
  std::int64_t* keys;
  alignas(64) T worst[V::query_block];  ///< the k-th best score of each row, or a bound of it

  static void take(ScratchMemory& memory, std::int64_t k, T*& scores, std::int64_t*& keys) {
    scores = memory.take<T>(V::query_block * k);
    keys = memory.take<std::int64_t>(V::query_block * k);
  }

  void clear() {
    for (std::int64_t i = 0; i < V::query_block * k; ++i) {
      scores[i] = minus_infinity<V>();
      keys[i] = -1;
    }
  }

  REGARD_NOINLINE void insert(const T* at, std::int64_t row, std::int64_t key) {
    for (std::int64_t i = 0; i < V::lanes; ++i) {
      const T s = at[i];
      if (!(s > worst[row + i])) continue;
      T* best = scores + (row + i) * k;
      std::int64_t* names = keys + (row + i) * k;
      std::int64_t place = k - 1;
      for (; place > 0 && best[place - 1] < s; --place) {
        best[place] = best[place - 1];
        names[place] = names[place - 1];
      }
      best[place] = s;
      names[place] = key;
      if (best[k - 1] > worst[row + i]) worst[row + i] = best[k - 1];
    }
  }
};

}  // namespace
}  // namespace regard::kernels
