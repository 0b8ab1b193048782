// Forward attention of a block of query rows whose keys are shared out: each unit attends to one
// group of them, and the states (m, l, O) are merged in the order of the groups.
//
// Groups depend on the shape alone, and the order of their sums is fixed, so that threads do not
// show in the bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/blocks/output.hpp"
#include "kernels/forward/forward.hpp"
#include "kernels/kernel_api.hpp"
#include "kernels/softmax/merge.hpp"
#include "kernels/tiles/scratch_memory.hpp"

namespace regard::kernels {
namespace {

/// What the rows of a block have come to over some of the keys.
template <class T>
struct GroupState {
  T *m, *l, *weights;  ///< references, sums, and sums of the weights that O is made of
  T* O;                ///< rows x columns

  GroupState(ScratchMemory& memory, std::int64_t rows, std::int64_t columns) {
    m = memory.take<T>(rows);
    l = memory.take<T>(rows);
    weights = memory.take<T>(rows);
    O = memory.take<T>(rows * columns);
  }
};

template <class V, class Products>
class GroupBlock : ForwardBlock<V, Products> {
  using T = typename V::scalar;
  using Base = ForwardBlock<V, Products>;

 public:
  GroupBlock(const GroupUnit& unit, ScratchMemory& memory, ScratchMemory total_memory)
      : Base(unit.forward, memory),
        g(unit),
        rows(unit.forward.scores.row_count),
        total(total_memory, rows, Base::columns) {
    if (g.group == 0) Base::O = total.O;  // it is the first
  }

  void run() {
    Base::attend(g.first_key, g.last_key);
    g.wait(g.turn, g.group);
    g.group == 0 ? start() : merge();
    if (g.group + 1 == g.groups) {
      write_output<V>(g.forward, total.O, Base::columns, total.m, total.l,
                      rounds() ? total.weights : total.l);
    }
    g.pass(g.turn, g.group + 1);
  }

 private:
  const GroupUnit& g;
  std::int64_t rows;
  GroupState<T> total;

  bool rounds() const { return Base::softmax.weight_sums() != Base::softmax.l; }

  void start() {
    for (std::int64_t r = 0; r < rows; ++r) {
      total.m[r] = Base::softmax.m[r];
      total.l[r] = Base::softmax.l[r];
      total.weights[r] = Base::softmax.weight_sums()[r];
    }
  }

  void merge() {
    const T* weights = Base::softmax.weight_sums();
    for (std::int64_t r = 0; r < rows; ++r) {
      const T of_group = Base::softmax.m[r];
      const T m = of_group > total.m[r] ? of_group : total.m[r];
      const T a = rescale<V>(total.m[r], m), b = rescale<V>(of_group, m);
      combine<V>(a, total.O + r * Base::columns, b, Base::O + r * Base::columns, Base::columns);
      total.l[r] = a * total.l[r] + b * Base::softmax.l[r];
      total.weights[r] = a * total.weights[r] + b * weights[r];
      total.m[r] = m;
    }
  }
};

template <class V, class Products = FmaProducts<V>>
void forward_group(const GroupUnit& unit) {
  ScratchMemory memory = {static_cast<char*>(unit.forward.scratch), 0};
  GroupBlock<V, Products>(unit, memory, {static_cast<char*>(unit.total), 0}).run();
}

template <class V>
std::size_t group_state_bytes(std::int64_t rows, std::int64_t value_dim) {
  ScratchMemory memory = {nullptr, 0};
  GroupState<typename V::scalar>(memory, rows, round_up(value_dim, V::lanes));
  return memory.used;
}

}  // namespace
}  // namespace regard::kernels
