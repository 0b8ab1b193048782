// The backward pass: jobs shared out to threads, turns taken at what they share.
//
// Blocks of query rows of one kv head all add to its dK and dV. Each adds a tile's part when the
// block before it has: sums are formed in one order whatever the threads do, nothing is stored
// twice, and a block waits only if it is a whole tile ahead of its turn.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "base/threads.hpp"
#include "plan/backward_plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "run/scratch.hpp"
#include "validate/validate.hpp"

namespace regard {
namespace {

using kernels::BackwardUnit;

/// Keys below which a job, and all before it in turn, is done; on a cache line of its own.
struct alignas(64) Progress {
  std::atomic<std::int64_t> end{std::numeric_limits<std::int64_t>::min()};
};

struct Turn {
  Progress* own;
  const Progress* previous;  ///< null: the first
};

void wait(void* turn, std::int64_t end) {
  const Progress* previous = static_cast<Turn*>(turn)->previous;
  if (previous == nullptr) return;
  // The wait is short as a rule: the other thread is at the same tile. If it is not running at
  // all, it needs this one's CPU.
  for (int tries = 0; previous->end.load(std::memory_order_acquire) < end; ++tries) {
    if (tries > 2000) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    } else if (tries > 1000) {
      std::this_thread::yield();
    }
  }
}

void pass(void* turn, std::int64_t end) {
  static_cast<Turn*>(turn)->own->end.store(end, std::memory_order_release);
}

/// Sums that jobs or heads keep for themselves, added up in order at the end.
struct Parts {
  std::vector<double> sinks, alibi;  ///< (jobs, heads of a unit)
  std::vector<double> tables;        ///< (batch elements, query heads, table_size)
};

/// Whether several blocks of rows add to one place.
bool is_shared(const Operand& bias, const Geometry& g) {
  bool shared =
      (bias.head_stride == 0 && g.query_heads > 1) || (bias.row_stride == 0 && g.queries > 1);
  for (int i = 0; i < g.batch_rank; ++i) {
    const auto axis = static_cast<std::size_t>(i);
    shared |= bias.batch_strides[axis] == 0 && g.batch_shape[axis] > 1;
  }
  return bias.data != nullptr && shared;
}

BackwardUnit backward_unit(const Geometry& g, const BackwardOperands& b, const Unit& at) {
  const std::int64_t head = at.head_set * g.unit_heads, kv_head = head / g.group;
  const std::int64_t element = at.element;
  BackwardUnit unit;
  unit.scores = score_unit(g, at);
  unit.value = stored_rows(g.value, g.value_scales, g, element, kv_head);
  unit.out = head_rows(b.out, g, element, head, g.query_starts);
  unit.dout = head_rows(b.dout, g, element, head, g.query_starts);
  unit.lse = head_rows(b.lse, g, element, head, g.query_starts);
  unit.dlse = head_rows(b.dlse, g, element, head, g.query_starts);
  unit.dquery = head_rows(b.query, g, element, head, g.query_starts);
  unit.dkey = head_rows(b.key, g, element, kv_head, g.key_starts);
  unit.dvalue = head_rows(b.value, g, element, kv_head, g.key_starts);
  unit.dbias = head_rows(b.bias, g, element, head, {});
  unit.value_dim = g.value_dim;
  unit.out_storage = g.query.storage;
  unit.dropout = g.dropout;
  unit.dropout.head = static_cast<std::uint32_t>(head);
  unit.dropout.element = static_cast<std::uint32_t>(element);
  unit.table_size = b.table_size;
  unit.wait = wait;
  unit.pass = pass;
  return unit;
}

/// Sets an array of any strides to zero.
void clear(const Array& array) {
  std::int64_t count = 1;
  for (const std::int64_t extent : array.dims()) count *= extent;
  const auto bytes = static_cast<std::int64_t>(size(array.dtype));
  std::int64_t run = 1;  // numbers that lie side by side
  int axes = array.rank;
  while (axes > 0) {
    const auto last = static_cast<std::size_t>(axes - 1);
    if (array.shape[last] != 1 && array.strides[last] != run * bytes) break;
    run *= array.shape[last];
    --axes;
  }
  for (std::int64_t n = 0; n < count; n += run) {
    char* at = static_cast<char*>(array.data);
    std::int64_t rest = n / run;
    for (int i = axes - 1; i >= 0; --i) {
      const auto axis = static_cast<std::size_t>(i);
      at += rest % array.shape[axis] * array.strides[axis];
      rest /= array.shape[axis];
    }
    std::memset(at, 0, static_cast<std::size_t>(run * bytes));
  }
}

void add(double x, char* to) {
  double sum;
  __builtin_memcpy(&sum, to, sizeof sum);
  sum += x;
  __builtin_memcpy(to, &sum, sizeof sum);
}

void add_parts(const Geometry& g, const BackwardOperands& b, const std::vector<BackwardJob>& jobs,
               const Parts& parts) {
  for (std::size_t n = 0; n < jobs.size(); ++n) {
    for (std::int64_t i = 0; i < g.unit_heads; ++i) {
      const auto part = n * static_cast<std::size_t>(g.unit_heads) + static_cast<std::size_t>(i);
      const std::int64_t head = jobs[n].rows.head_set * g.unit_heads + i;
      if (b.sinks.data) add(parts.sinks[part], b.sinks.data + head * b.sinks.column_stride);
      if (b.alibi_slopes.data) {
        add(parts.alibi[part], b.alibi_slopes.data +
                                   jobs[n].rows.element * b.alibi_slopes.row_stride +
                                   head * b.alibi_slopes.column_stride);
      }
    }
  }
  for (std::int64_t n = 0; n < g.batch * g.query_heads * b.table_size; ++n) {
    const std::int64_t head = n / b.table_size % g.query_heads % b.table_heads;
    b.table[head * b.table_size + n % b.table_size] += parts.tables[static_cast<std::size_t>(n)];
  }
}

}  // namespace

void Plan::backward(const Saved& saved, const Gradients& gradients) const {
  Geometry g = *geometry_;
  const BackwardOperands b = validate_backward(saved, gradients, g);
  if (!gradients.accumulate) {
    for (const auto* array :
         {&gradients.query, &gradients.key, &gradients.value, &gradients.bias, &gradients.sinks,
          &gradients.alibi_slopes, &gradients.position_bias}) {
      if (*array) clear(**array);
    }
  }
  const bool shared = is_shared(b.bias, g);
  const std::vector<BackwardJob> jobs = plan_backward(g, shared);
  const auto count = static_cast<std::int64_t>(jobs.size());
  Parts parts;
  const auto job_parts = static_cast<std::size_t>(count * g.unit_heads);
  if (b.sinks.data) parts.sinks.resize(job_parts);
  if (b.alibi_slopes.data) parts.alibi.resize(job_parts);
  parts.tables.resize(static_cast<std::size_t>(g.batch * g.query_heads * b.table_size));
  const auto progress = std::make_unique<Progress[]>(jobs.size());
  const int threads = static_cast<int>(std::clamp<std::int64_t>(count, 1, g.threads));
  const std::size_t bytes =
      g.kernel->backward_bytes({g.head_dim, g.value_dim, g.key_tile, b.table_size});
  ThreadScratch scratch(bytes, threads);
  std::atomic<std::int64_t> next = 0;
  const std::vector<std::size_t> order = order_of(jobs, threads, shared);
  // Jobs are taken in order, so the first that is not done never waits.
  parallel_for(threads, threads, [&](std::int64_t, int thread) {
    for (std::int64_t taken = next++; taken < count; taken = next++) {
      const std::size_t n = order[static_cast<std::size_t>(taken)];
      const BackwardJob& job = jobs[n];
      const std::int64_t head = job.rows.head_set * g.unit_heads;
      BackwardUnit unit = backward_unit(g, b, job.rows);
      Turn turn = {&progress[n],
                   job.previous < 0 ? nullptr : &progress[static_cast<std::size_t>(job.previous)]};
      unit.turn = &turn;
      unit.dbias_shared = shared;
      unit.dsink =
          b.sinks.data ? &parts.sinks[n * static_cast<std::size_t>(g.unit_heads)] : nullptr;
      unit.dalibi =
          b.alibi_slopes.data ? &parts.alibi[n * static_cast<std::size_t>(g.unit_heads)] : nullptr;
      const std::int64_t place = (job.rows.element * g.query_heads + head) * b.table_size;
      unit.dtable = b.table ? parts.tables.data() + place : nullptr;
      unit.scratch = scratch.of(thread);
      g.kernel->backward(unit);
    }
  });
  add_parts(g, b, jobs, parts);
}

}  // namespace regard
