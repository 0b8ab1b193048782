#include "run/padding.hpp"

#include "run/kernel_units.hpp"

namespace regard {
namespace {

template <class T>
void clear(const CheckedProblem& problem, const Operand& out, const Operand& lse, T of_nothing) {
  for (std::int64_t element = 0; element < problem.batch; ++element) {
    for (std::int64_t head = 0; head < problem.query_heads; ++head) {
      const auto rows_of = [&](const Operand& operand) {
        return head_rows(operand, problem, element, head, problem.query_starts);
      };
      const kernels::Rows rows = rows_of(out), sums = rows_of(lse);
      for (std::int64_t i = problem.queries_of(element); i < problem.query_room(element); ++i) {
        for (std::int64_t c = 0; c < problem.value_dim; ++c) {
          __builtin_memset(rows.data + i * rows.row_stride + c * rows.column_stride, 0,
                           size(problem.out_dtype));
        }
        if (sums.data == nullptr) continue;
        __builtin_memcpy(sums.data + i * sums.row_stride, &of_nothing, sizeof of_nothing);
      }
    }
  }
}

}  // namespace

void clear_padding(const CheckedProblem& problem, const Operand& out, const Operand& lse,
                   double of_nothing) {
  if (problem.query_lengths.empty()) return;
  problem.dtype == DType::float32 ? clear(problem, out, lse, static_cast<float>(of_nothing))
                                  : clear(problem, out, lse, of_nothing);
}

}  // namespace regard
