// What a plan says about itself, and about the build.
#include <algorithm>

#include "geometry.hpp"
#include "plan.hpp"
#include "regard/attention.hpp"
#include "threads.hpp"

namespace regard {

std::string_view Plan::isa() const { return geometry_->table->isa; }
std::int64_t Plan::query_block() const { return geometry_->kernel->query_block; }
std::int64_t Plan::key_tile() const { return geometry_->key_tile; }
std::int64_t Plan::units() const { return geometry_->units; }
int Plan::threads() const { return geometry_->threads; }
std::size_t Plan::scratch_bytes() const { return geometry_->scratch_bytes; }
std::int64_t Plan::batch() const { return geometry_->batch; }
std::int64_t Plan::query_heads() const { return geometry_->query_heads; }
std::int64_t Plan::kv_heads() const { return geometry_->kv_heads; }
std::int64_t Plan::queries() const { return geometry_->queries; }
std::int64_t Plan::keys() const { return geometry_->keys; }
std::int64_t Plan::head_dim() const { return geometry_->head_dim; }
std::int64_t Plan::value_dim() const { return geometry_->value_dim; }
double Plan::scale() const { return geometry_->scale; }

double Plan::visible_share() const {
  const Geometry& g = *geometry_;
  double visible = 0;
  for (std::int64_t element = 0; element < g.batch; ++element) {
    const std::int64_t keys = g.keys_of(element), offset = g.offset_of(element);
    for (std::int64_t i = 0; i < g.queries; ++i) {
      const std::int64_t begin = std::clamp<std::int64_t>(i + offset - g.left, 0, keys);
      const std::int64_t end = std::clamp<std::int64_t>(i + offset + g.right + 1, 0, keys);
      visible += static_cast<double>(std::max<std::int64_t>(end - begin, 0));
    }
  }
  const double all =
      static_cast<double>(g.batch) * static_cast<double>(g.queries) * static_cast<double>(g.keys);
  return all == 0 ? 0 : visible / all;
}

namespace {

bool in_place(const Operand& operand, std::int64_t element_size) {
  return operand.column_stride == element_size && operand.row_stride % element_size == 0 &&
         reinterpret_cast<std::uintptr_t>(operand.data) %
                 static_cast<std::uintptr_t>(element_size) ==
             0;
}

}  // namespace

bool Plan::key_in_place() const {
  return in_place(geometry_->key, static_cast<std::int64_t>(size(geometry_->dtype)));
}

bool Plan::value_in_place() const {
  return geometry_->value_dim % geometry_->kernel->lanes == 0 &&
         in_place(geometry_->value, static_cast<std::int64_t>(size(geometry_->dtype)));
}

const char* version() { return REGARD_VERSION; }
const char* compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}
int default_thread_count() { return default_threads(); }

}  // namespace regard
