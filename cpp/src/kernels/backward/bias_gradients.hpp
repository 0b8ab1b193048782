// Gradients of what is added to scores: sums of dS over the pairs that share a number.
//
//   bias[.., i, j]                          dS itself, summed over what the bias was broadcast
//   along table[j - p], or of a grid of pixels    sums over the pairs at one distance -slope |p -
//   j|                          -sum dS |p - j|
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/query_block.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/pack.hpp"

namespace regard::kernels {
namespace {

template <class T>
inline void add_scalar(T x, char* to) {
  T sum;
  __builtin_memcpy(&sum, to, sizeof sum);
  sum += x;
  __builtin_memcpy(to, &sum, sizeof sum);
}

/// The gradient of a bias array. Sums over queries or over keys are formed by tiles first.
template <class V>
class ArrayBiasGradient {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  explicit ArrayBiasGradient(const BackwardUnit& unit)
      : u(unit.scores),
        to(unit.dbias),
        over_keys(to.column_stride == 0),
        over_rows(to.row_stride == 0 && to.head_stride == 0) {
    for (double& sum : row_sums) sum = 0;
  }

  /// Whether `add` writes to the gradient itself, and has to be in turn where that is shared.
  bool direct() const { return !over_keys && !over_rows; }

  void start_tile() {
    for (double& sum : key_sums) sum = 0;
  }

  /// Keys [from, to) of the tile that begins at `tile`, for a panel.
  void add(const Panel<T>& panel, const Keys<T>& keys, std::int64_t tile, const T* dSt) {
    if (over_keys) return sum_over_keys(panel, keys, dSt);
    if (over_rows) return sum_over_rows(panel, keys, tile, dSt);
    for (std::int64_t r = 0; r < panel.rows; r += V::lanes) {
      const std::int64_t rows = panel.rows - r < V::lanes ? panel.rows - r : V::lanes;
      char* at[V::lanes];
      for (std::int64_t i = 0; i < rows; ++i) {
        at[i] = row_address(to, u.group, u.first_row + panel.row + r + i) +
                keys.begin * to.column_stride;
      }
      std::int64_t j = 0;
      if (contiguous_columns<T>(to)) {
        for (; j + V::lanes <= keys.count; j += V::lanes) {
          reg block[V::lanes];
          REGARD_UNROLL
          for (int i = 0; i < V::lanes; ++i) block[i] = V::load(dSt + (j + i) * panel.ld + r);
          V::transpose(block);
          REGARD_UNROLL
          for (int i = 0; i < V::lanes; ++i) {
            if (i >= rows) break;
            T* place = reinterpret_cast<T*>(at[i]) + j;
            V::store(place, V::add(V::load(place), block[i]));
          }
        }
      }
      for (; j < keys.count; ++j) {
        for (std::int64_t i = 0; i < rows; ++i) {
          add_scalar(dSt[j * panel.ld + r + i], at[i] + j * to.column_stride);
        }
      }
    }
  }

  /// In turn, once a tile is done for all panels.
  void finish_tile(std::int64_t begin, std::int64_t end) {
    if (over_keys || !over_rows) return;
    for (std::int64_t j = begin; j < end; ++j) {
      add_scalar(static_cast<T>(key_sums[j - begin]), to.data + j * to.column_stride);
    }
  }

  /// In turn, once the unit is done.
  void finish() {
    if (!over_keys) return;
    for (std::int64_t r = 0; r < u.row_count; ++r) {
      add_scalar(static_cast<T>(row_sums[r]), row_address(to, u.group, u.first_row + r));
    }
  }

 private:
  const ScoreUnit& u;
  Rows to;
  bool over_keys, over_rows;
  double row_sums[V::query_block], key_sums[V::key_tile];

  void sum_over_keys(const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      reg sum = V::zero();
      for (std::int64_t j = 0; j < keys.count; ++j) {
        sum = V::add(sum, V::load(dSt + j * panel.ld + r));
      }
      alignas(64) T lanes[V::lanes];
      V::store(lanes, sum);
      for (std::int64_t i = 0; i < V::lanes && r + i < panel.rows; ++i) {
        row_sums[panel.row + r + i] += static_cast<double>(lanes[i]);
      }
    }
  }

  void sum_over_rows(const Panel<T>& panel, const Keys<T>& keys, std::int64_t tile, const T* dSt) {
    for (std::int64_t j = 0; j < keys.count; ++j) {
      const T* row = dSt + j * panel.ld;
      double sum = 0;
      std::int64_t r = 0;
      reg whole = V::zero();
      for (; r + V::lanes <= panel.rows; r += V::lanes) whole = V::add(whole, V::load(row + r));
      alignas(64) T lanes[V::lanes];
      V::store(lanes, whole);
      for (const T lane : lanes) sum += static_cast<double>(lane);
      for (; r < panel.rows; ++r) sum += static_cast<double>(row[r]);
      key_sums[keys.begin - tile + j] += sum;
    }
  }
};

/// The gradient of a position bias's table, of one head (group = 1).
template <class V>
class TableGradient {
  using T = typename V::scalar;

 public:
  TableGradient(const BackwardUnit& unit, double* memory) : u(unit), table(memory) {
    for (std::int64_t n = 0; n < u.table_size; ++n) table[n] = 0;
  }

  void add(const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    u.scores.position_bias.width > 0 ? add_grid(panel, keys, dSt) : add_relative(panel, keys, dSt);
  }

  /// In turn.
  void finish() {
    for (std::int64_t n = 0; n < u.table_size; ++n) u.dtable[n] += table[n];
  }

 private:
  const BackwardUnit& u;
  double* table;
  T strip[V::panel_rows + V::key_tile];

  /// All pairs of key j and row r with the same j - r share a number, of strip[count - 1 - j + r].
  void add_relative(const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    const std::int64_t count = keys.count;
    for (std::int64_t x = 0; x < panel.ld + count; ++x) strip[x] = 0;
    // Keys `lanes` apart meet the same vectors of the strip; neighbours' overlap, and a load that
    // overlaps two recent stores waits for both.
    for (std::int64_t phase = 0; phase < V::lanes; ++phase) {
      for (std::int64_t j = phase; j < count; j += V::lanes) {
        T* at = strip + (count - 1 - j);
        std::int64_t r = 0;
        for (; r + V::lanes <= panel.rows; r += V::lanes) {
          V::store(at + r, V::add(V::load(at + r), V::load(dSt + j * panel.ld + r)));
        }
        for (; r < panel.rows; ++r) at[r] += dSt[j * panel.ld + r];
      }
    }
    const std::int64_t reach = u.scores.position_bias.reach;
    const std::int64_t farthest =
        keys.begin + count - 1 - (u.scores.first_row + panel.row + u.scores.offset);
    for (std::int64_t x = 0; x < panel.rows + count - 1; ++x) {
      table[clamp(farthest - x, -reach, reach) + reach] += static_cast<double>(strip[x]);
    }
  }

  void add_grid(const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    const PositionBias& bias = u.scores.position_bias;
    const std::int64_t step = 2 * bias.width - 1;
    const std::int64_t centre = (bias.height - 1) * step + bias.width - 1;
    for (std::int64_t j = 0; j < keys.count; ++j) {
      const std::int64_t k = keys.begin + j;
      const std::int64_t key_place = k / bias.width * step + k % bias.width - centre;
      std::int64_t i = u.scores.first_row + panel.row;
      std::int64_t y = i / bias.width, x = i % bias.width;
      for (std::int64_t r = 0; r < panel.rows; ++r) {
        table[y * step + x - key_place] += static_cast<double>(dSt[j * panel.ld + r]);
        if (++x == bias.width) x = 0, ++y;
      }
    }
  }
};

/// Gradients of ALiBi's slopes: one sum a row until the end.
template <class V>
struct SlopeGradient {
  using T = typename V::scalar;
  double sums[V::query_block];

  void start() {
    for (double& sum : sums) sum = 0;
  }
  void add(const ScoreUnit& u, const Panel<T>& panel, const Keys<T>& keys, const T* dSt) {
    const std::int64_t first = u.offset - keys.begin;
    for (std::int64_t r = 0; r < panel.ld; r += V::lanes) {
      alignas(64) T lanes[V::lanes];
      for (std::int64_t i = 0; i < V::lanes; ++i) {
        lanes[i] = static_cast<T>(query_of(u, u.first_row + panel.row + r + i) + first);
      }
      typename V::reg distance = V::load(lanes), sum = V::zero();
      for (std::int64_t j = 0; j < keys.count; ++j) {
        sum = V::fma(V::load(dSt + j * panel.ld + r), V::abs(distance), sum);
        distance = V::sub(distance, V::set1(1));  // numbers of keys are exact
      }
      V::store(lanes, sum);
      for (std::int64_t i = 0; i < V::lanes && r + i < panel.rows; ++i) {
        sums[panel.row + r + i] += static_cast<double>(lanes[i]);
      }
    }
  }
  /// One number a head of the group.
  void finish(const ScoreUnit& u, double* to) const {
    for (std::int64_t head = 0; head < u.group; ++head) to[head] = 0;
    for (std::int64_t r = 0; r < u.row_count; ++r) to[(u.first_row + r) % u.group] -= sums[r];
  }
};

}  // namespace
}  // namespace regard::kernels
