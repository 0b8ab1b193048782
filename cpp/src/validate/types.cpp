// Element types of query, key and value, and the scales of int8.
#include <span>
#include <string>

#include "validate/axes.hpp"
#include "validate/validate_parts.hpp"

namespace regard {
namespace {

constexpr const char* kScaleAxes[] = {"heads", "length"};

void check_stored(const char* argument, const Array& array, const std::optional<Array>& scales,
                  const Problem& p, const CheckedProblem& checked) {
  const std::string prefix = argument;
  const Shown shown = {argument, array, kKeyAxes};
  if (array.dtype == DType::int8 && checked.dtype == DType::float32) {
    if (scales) return;
    throw TypeError(message(prefix + " has dtype int8 and no scales.", {shown},
                            "Give " + prefix +
                                "_scales, as regard.quantize_kv makes them, or "
                                "convert it with astype()."));
  }
  if (scales) {
    throw TypeError(message(prefix + "_scales come with a " + prefix + " of dtype " +
                                name(array.dtype) + " and a query of dtype " + name(p.query.dtype) +
                                ".",
                            {show_query(p), shown},
                            "Scales are those of int8, with a query of float32, float16 or "
                            "bfloat16."));
  }
  const bool fits = checked.dtype == DType::float64 ? array.dtype == DType::float64
                                                    : computed_in_float32(array.dtype);
  if (fits) return;
  throw TypeError(message(
      prefix + " has dtype " + name(array.dtype) + " but query has " + name(p.query.dtype) + ".",
      {show_query(p), show_key(p), show_value(p)},
      "float32, float16 and bfloat16 go together, float64 goes with itself: "
      "convert with astype()."));
}

Operand align_scales(const char* argument, const Array& scales, const Array& of, const Problem& p,
                     const CheckedProblem& checked) {
  const Shown shown = {argument, scales, kScaleAxes};
  if (scales.dtype != DType::float32) {
    throw TypeError(message(std::string(argument) + " has dtype " + name(scales.dtype) + ".",
                            {shown}, "Use float32."));
  }
  const std::int64_t keys = axis(of, 1);
  bool fits = scales.rank >= 1 && (axis(scales, 0) == keys || axis(scales, 0) == 1) &&
              (axis(scales, 1) == checked.kv_heads || axis(scales, 1) == 1);
  const int batch_rank =
      checked.key_starts.empty() ? checked.batch_rank : 0;  // packed pieces have no axes
  fits &= scales.rank <= batch_rank + 2;
  for (int i = 0; i + 2 < scales.rank && fits; ++i) {
    const auto wanted = checked.batch_shape[static_cast<std::size_t>(checked.batch_rank - 1 - i)];
    fits = axis(scales, 2 + i) == 1 || axis(scales, 2 + i) == wanted;
  }
  if (!fits) {
    throw ValueError(message(std::string(argument) + " does not fit.",
                             {shown, show_key(p), show_value(p)},
                             "Give one scale for each token and kv head: the shape without its "
                             "last axis."));
  }
  Operand operand = align(scales, checked, 1);
  if (batch_rank == 0) operand.batch_strides.fill(0);
  return operand;
}

}  // namespace

bool computed_in_float32(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float16 || dtype == DType::bfloat16;
}

kernels::Storage storage_of(DType dtype) {
  switch (dtype) {
    case DType::bfloat16: return kernels::Storage::bfloat16;
    case DType::float16: return kernels::Storage::float16;
    case DType::int8: return kernels::Storage::int8;
    default: return kernels::Storage::compute;
  }
}

void check_dtypes(const Problem& p, CheckedProblem& checked) {
  checked.out_dtype = p.query.dtype;
  checked.dtype = p.query.dtype == DType::float64 ? DType::float64 : DType::float32;
  if (checked.dtype == DType::float32 && !computed_in_float32(p.query.dtype)) {
    throw TypeError(
        message(std::string("query has dtype ") + name(p.query.dtype) + ".", {show_query(p)},
                "Use float32, float64, float16 or bfloat16, e.g. query.astype(np.float32)."));
  }
  check_stored("key", p.key, p.key_scales, p, checked);
  check_stored("value", p.value, p.value_scales, p, checked);
  checked.query.storage = storage_of(p.query.dtype);
  checked.key.storage = storage_of(p.key.dtype);
  checked.value.storage = storage_of(p.value.dtype);
}

void check_scales(const Problem& p, CheckedProblem& checked) {
  const auto align_scales_of = [&](const char* argument, const std::optional<Array>& scales,
                                   const Array& of, Operand& operand) {
    if (!scales) return;
    const std::int64_t page_stride = operand.page_stride;  // without_pages knows it
    operand = align_scales(argument, *scales, of, p, checked);
    operand.page_stride = page_stride;
  };
  align_scales_of("key_scales", p.key_scales, p.key, checked.key_scales);
  align_scales_of("value_scales", p.value_scales, p.value, checked.value_scales);
}

}  // namespace regard
