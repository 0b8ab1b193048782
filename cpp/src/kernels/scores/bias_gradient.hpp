// The gradient of a bias array: dS itself, summed over what the bias was broadcast along.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/scores/score_option.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/pack.hpp"

namespace regard::kernels {
namespace {

/// The gradient of a bias array. Sums over queries or over keys are formed by tiles first.
template <class V>
class ArrayBiasGradient : public NoGradient<V> {
  using T = typename V::scalar;
  using reg = typename V::reg;

 public:
  ArrayBiasGradient(const BackwardUnit& unit, ScratchMemory& memory)
      : NoGradient<V>(unit, memory),
        u(unit.scores),
        shared(unit.dbias_shared),
        to(unit.dbias),
        over_keys(to.column_stride == 0),
        over_rows(to.row_stride == 0 && to.head_stride == 0) {
    for (double& sum : row_sums) sum = 0;
  }

  static bool is_wanted(const BackwardUnit& unit) { return unit.dbias.data != nullptr; }
  bool needs_turn() const { return shared && !over_keys && !over_rows; }

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
  bool shared;
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

}  // namespace
}  // namespace regard::kernels
