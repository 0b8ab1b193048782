#include <algorithm>
#include <string>

#include "base/message.hpp"
#include "base/threads.hpp"
#include "isa/dispatch.hpp"
#include "regard/store.hpp"
#include "run/scratch.hpp"
#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

/// Below this many bytes a second thread costs more than it helps.
constexpr std::int64_t kSerialBytes = 1 << 20;

void check(const Array& source, const Array& target, const Array* scales) {
  const Shown from = {"source", source, {}}, to = {"target", target, {}};
  const bool wide = source.dtype == DType::float64;
  const bool from_fits = wide || computed_in_float32(source.dtype);
  const bool to_fits = wide ? target.dtype == DType::float64
                            : computed_in_float32(target.dtype) || target.dtype == DType::int8;
  if (!from_fits || !to_fits) {
    throw TypeError(message(
        "" + std::string(name(source.dtype)) + " does not go into " + name(target.dtype) + ".",
        {from, to},
        "float32, float16 and bfloat16 go into these and int8, float64 into "
        "float64."));
  }
  if (source.rank < 1 || !std::ranges::equal(source.dims(), target.dims())) {
    throw ValueError(message("source and target differ in shape.", {from, to},
                             "Give arrays of one shape, (..., columns)."));
  }
  const bool quantizes = target.dtype == DType::int8;
  if (quantizes != (scales != nullptr) || (quantizes && scales->dtype != DType::float32) ||
      (quantizes &&
       !std::ranges::equal(scales->dims(),
                           source.dims().first(static_cast<std::size_t>(source.rank - 1))))) {
    throw ValueError(message("scales are wanted for int8, and for int8 only.", {from, to},
                             "Give float32 of the shape without its last axis."));
  }
  if (!target.writable || (scales != nullptr && !scales->writable)) {
    throw ValueError(message("target is read-only.", {to}, "Give one that can be written."));
  }
}

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
  check(source, target, scales);
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
