#include <algorithm>

#include "base/threads.hpp"
#include "isa/dispatch.hpp"
#include "regard/store.hpp"
#include "run/scratch.hpp"
#include "validate/axes.hpp"
#include "validate/store.hpp"
#include "validate/types.hpp"

namespace regard {
namespace {

/// Below this many bytes a second thread costs more than it helps.
constexpr std::int64_t kSerialBytes = 1 << 20;

/// Where the rows of outer index `index` begin.
char* outer_address(const Array& array, std::int64_t index, int inner_axes) {
  char* at = static_cast<char*>(array.data);
  for (int i = array.rank - 1 - inner_axes; i >= 0; --i) {
    const auto axis = static_cast<std::size_t>(i);
    at += index % array.shape[axis] * array.strides[axis];
    index /= array.shape[axis];
  }
  return at;
}

}  // namespace

void store(const Array& source, const Array& target, const Array* scales) {
  validate_store(source, target, scales);
  const kernels::FloatKernels& kernels = *active_kernels().floats;
  const kernels::Kernels& kernel = source.dtype == DType::float64 ? kernels.f64 : kernels.f32;
  kernels::StoreUnit unit = {};
  unit.source_storage = storage_of(source.dtype);
  unit.target_storage = storage_of(target.dtype);
  unit.columns = axis(source, 0);
  unit.count = axis(source, 1);
  unit.source = {nullptr, 0, stride(source, 1), stride(source, 0)};
  unit.target = {nullptr, 0, stride(target, 1), stride(target, 0)};
  unit.scale_stride = scales != nullptr ? stride(*scales, 0) : 0;
  std::int64_t outer = 1;
  for (int i = 0; i + 2 < source.rank; ++i) outer *= source.shape[static_cast<std::size_t>(i)];
  const std::int64_t row_bytes = unit.columns * static_cast<std::int64_t>(size(source.dtype));
  const int threads = outer * unit.count * row_bytes < kSerialBytes
                          ? 1
                          : static_cast<int>(std::clamp<std::int64_t>(outer, 1, default_threads()));
  ThreadScratch scratch(static_cast<std::size_t>(unit.columns) * size(DType::float64) + 64,
                        threads);
  if (unit.columns == 0 || unit.count == 0) return;
  parallel_for(outer, threads, [&](std::int64_t index, int thread) {
    kernels::StoreUnit rows = unit;
    rows.source.data = outer_address(source, index, 2);
    rows.target.data = outer_address(target, index, 2);
    if (scales != nullptr) rows.scales = outer_address(*scales, index, 1);
    rows.scratch = scratch.of(thread);
    kernel.store_rows(rows);
  });
}

}  // namespace regard
