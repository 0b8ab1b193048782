// What can be said of the weights of one block of rows without keeping them: a pass over the keys
// for m and l, and a second one in which each weight is seen once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/output.hpp"
#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/simd/base2.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/softmax/online_softmax.hpp"
#include "kernels/weights/top_keys.hpp"

namespace regard::kernels {
namespace {

/// Cell of position x when `length` positions are shared out among `cells`: cell c begins at
/// c * length / cells, rounded down.
inline std::int64_t cell_of(std::int64_t x, std::int64_t length, std::int64_t cells) {
  return ((x + 1) * cells - 1) / length;
}
inline std::int64_t cell_begin(std::int64_t cell, std::int64_t length, std::int64_t cells) {
  return cell * length / cells;
}

template <class V>
class SummaryBlock {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  SummaryBlock(const SummaryUnit& unit, ScratchMemory& memory)
      : u(unit), block(unit.scores, memory), top(unit.top_k, memory) {
    take(memory, u.scores.key_tile, key_sums);
  }

  static void count(ScratchMemory& memory, const ScratchSizes& sizes) {
    QueryBlock<V>::count(memory, sizes);
    TopKeys<V>::count(memory, sizes.top_k);
    T* sums;
    take(memory, sizes.key_tile, sums);
  }

  void run() {
    const ScoreUnit& s = u.scores;
    for (auto& x : best) x = minus_infinity<V>();
    sum_rows(block, softmax, [&](const Panel<T>& panel, const T* maximum, std::int64_t key) {
      for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
        top.offer(V::load(maximum + r), maximum + r, panel.row + r, key);
        V::store(best + panel.row + r, V::max(V::load(best + panel.row + r), V::load(maximum + r)));
      }
    });
    top.start_from_bounds();
    for (std::int64_t r = 0; r < V::query_block; ++r) {
      factor[r] = weighted[r] = 0;
      if (r >= s.row_count) continue;
      const RowSum<T> z = finish_row<V>(s, s.first_row + r, softmax.m[r], softmax.l[r]);
      factor[r] = z.factor;
      write_scalar(log_sum_exp(z), u.lse + (s.first_row + r) * item);
    }
    block.for_each_tile([&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < (end - begin) * V::lanes; ++i) key_sums[i] = 0;
      for (int i = 0; i < block.panel_count; ++i) add_panel(block.panels[i], begin, end);
      for (std::int64_t j = begin; j < end; ++j) {
        double sum = 0;
        for (int i = 0; i < V::lanes; ++i) {
          sum += static_cast<double>(key_sums[(j - begin) * V::lanes + i]);
        }
        u.column_sums[j] += sum;
      }
    });
    write_rows();
  }

 private:
  static constexpr std::int64_t item = sizeof(T);
  const SummaryUnit& u;
  QueryBlock<V> block;
  OnlineSoftmax<V> softmax;
  TopKeys<V> top;
  alignas(64) T factor[V::query_block];
  alignas(64) T best[V::query_block];      ///< the largest score of each row
  alignas(64) T weighted[V::query_block];  ///< sum of p (s - m)
  T* key_sums;                             ///< of each key of a tile, lane by lane

  static void take(ScratchMemory& memory, std::int64_t key_tile, T*& sums) {
    sums = memory.take<T>(key_tile * V::lanes);
  }

  void add_panel(const Panel<T>& panel, std::int64_t begin, std::int64_t end) {
    alignas(64) T maximum[V::panel_rows];
    Keys<T> keys;
    if (!block.reach(panel, begin, end, keys) || !block.scores(panel, keys, maximum)) return;
    hide_filling(panel, keys.count);
    T* sums = key_sums + (keys.begin - begin) * V::lanes;
    for (std::int64_t from = 0; from < keys.count;) {  // one column of the pooled map at a time
      const std::int64_t cell = cell_of(keys.begin + from, u.key_length, u.key_cells);
      const std::int64_t next = cell_begin(cell + 1, u.key_length, u.key_cells) - keys.begin;
      const std::int64_t to = next < keys.count ? next : keys.count;
      for (std::int64_t r = 0; r < panel.ld;) {
        const std::int64_t left = (panel.ld - r) / V::lanes;
        const std::int64_t vectors = keys.edged ? 1 : left < widest ? left : widest;
        add_cell(static_cast<int>(vectors), panel, keys, r, from, to, cell, sums);
        r += vectors * V::lanes;
      }
      from = to;
    }
  }

  /// Rows that only fill up a vector are summed with the others: whatever their scores came to (0
  /// times an infinite key is NaN), they must weigh nothing.
  void hide_filling(const Panel<T>& panel, std::int64_t keys) {
    for (std::int64_t j = 0; j < keys && panel.rows < panel.ld; ++j) {
      for (std::int64_t r = panel.rows; r < panel.ld; ++r) {
        block.St[j * panel.ld + r] = minus_infinity<V>();
      }
    }
  }

  static constexpr int widest = V::score_vectors;

  template <int VECTORS = widest>
  void add_cell(int vectors, const Panel<T>& panel, const Keys<T>& keys, std::int64_t r,
                std::int64_t from, std::int64_t to, std::int64_t cell, T* sums) {
    if constexpr (VECTORS > 1) {
      if (vectors < VECTORS) {
        return add_cell<VECTORS - 1>(vectors, panel, keys, r, from, to, cell, sums);
      }
    }
    std::int64_t used_from, used_to;
    block.used_keys(panel, keys, r, used_from, used_to);
    from = from > used_from ? from : used_from;
    to = to < used_to ? to : used_to;
    if (from >= to) return;
    alignas(64) T pooled[VECTORS * V::lanes];
    look<VECTORS>(block.St + from * panel.ld + r, panel.ld, to - from, panel.row + r,
                  keys.begin + from, sums + from * V::lanes, pooled);
    for (std::int64_t i = 0; i < VECTORS * V::lanes && r + i < panel.rows; ++i) {
      const std::int64_t row = u.scores.first_row + panel.row + r + i;
      u.pooled[cell_of(row, u.query_length, u.query_cells) * u.key_cells + cell] +=
          static_cast<double>(pooled[i]);
    }
  }

  /// Every weight p of `keys` keys and VECTORS vectors of rows: into the sums of its key and of its
  /// row, the row's entropy and its largest keys.
  template <int VECTORS>
  REGARD_NOINLINE void look(const T* St, std::ptrdiff_t ld, std::int64_t keys, std::int64_t row,
                            std::int64_t first_key, T* sums, T* pooled) {
    constexpr T least = static_cast<T>(-2000);  // 0 * -inf is NaN; 2^-2000 is 0 in either type
    reg m[VECTORS], scale[VECTORS], px[VECTORS], sum[VECTORS];
    REGARD_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      const std::int64_t r = row + v * V::lanes;
      m[v] = finite_reference<V>(V::load(softmax.m + r));
      scale[v] = V::load(factor + r);
      px[v] = sum[v] = V::zero();
    }
    const reg hidden = V::set1(minus_infinity<V>());
    for (std::int64_t j = 0; j < keys; ++j) {
      reg key_sum = V::load(sums + j * V::lanes);
      REGARD_UNROLL
      for (int v = 0; v < VECTORS; ++v) {
        const reg s = V::load(St + j * ld + v * V::lanes);
        const reg x = V::sub(s, m[v]);
        const reg p = V::select(V::equal(s, hidden), V::zero(), V::mul(V::exp2(x), scale[v]));
        key_sum = V::add(key_sum, p);
        sum[v] = V::add(sum[v], p);
        px[v] = V::fma(p, V::max(V::set1(least), x), px[v]);
        top.offer(s, St + j * ld + v * V::lanes, row + v * V::lanes, first_key + j);
      }
      V::store(sums + j * V::lanes, key_sum);
    }
    REGARD_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
      const std::int64_t r = row + v * V::lanes;
      V::store(weighted + r, V::add(V::load(weighted + r), px[v]));
      V::store(pooled + v * V::lanes, sum[v]);
    }
  }

  /// The weight of a score s of row r.
  T weight(std::int64_t r, T s) const {
    if (s == minus_infinity<V>()) return factor[r] != factor[r] ? factor[r] : T(0);
    alignas(64) T lanes[V::lanes];
    V::store(lanes, V::exp2(V::set1(s - softmax.m[r])));
    return lanes[0] * factor[r];
  }

  /// -sum p log p: with log2 p = s - m + log2 factor, of which the last is the same for all keys.
  T entropy(std::int64_t r) const {
    if (!(factor[r] > 0)) return factor[r];  // 0 for a row that sees nothing; NaN
    const double sum = static_cast<double>(softmax.l[r]) * static_cast<double>(factor[r]);
    const double log2_factor = __builtin_log2(static_cast<double>(factor[r]));
    return static_cast<T>(-kLn2 * (static_cast<double>(weighted[r]) + sum * log2_factor));
  }

  void write_rows() {
    for (std::int64_t r = 0; r < u.scores.row_count; ++r) {
      const std::int64_t row = u.scores.first_row + r;
      write_scalar(entropy(r), u.entropy + row * item);
      write_scalar(weight(r, best[r]), u.row_max + row * item);
      for (std::int64_t k = 0; k < u.top_k; ++k) {
        T score;
        std::int64_t key;
        top.get(r, k, score, key);
        write_scalar(key < 0 ? T(0) : weight(r, score), u.top_weights + (row * u.top_k + k) * item);
        u.top_keys[row * u.top_k + k] = key;
      }
    }
  }
};

template <class V>
void summary(const SummaryUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.scratch), 0};
  SummaryBlock<V>(unit, memory).run();
}

}  // namespace
}  // namespace regard::kernels
