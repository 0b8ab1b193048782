// What a plan says about itself, and about the build.
#include <algorithm>
#include <utility>

#include "base/threads.hpp"
#include "plan/plan.hpp"
#include "regard/attention.hpp"
#include "run/kernel_units.hpp"
#include "validate/geometry.hpp"

namespace regard {

namespace {

/// Which kernels the elements take.
struct Runs {
  bool forward, decode;
};
Runs runs_of(const Geometry& g) {
  Runs runs = {g.batch == 0, false};
  for (std::int64_t element = 0; element < g.batch; ++element) {
    (g.decodes(element) ? runs.decode : runs.forward) = true;
  }
  return runs;
}

DType kept_as(const Operand& operand, const Geometry& g) {
  switch (operand.storage) {
    case kernels::Storage::bfloat16: return DType::bfloat16;
    case kernels::Storage::float16: return DType::float16;
    case kernels::Storage::int8: return DType::int8;
    default: return g.dtype;
  }
}

}  // namespace

std::string_view Plan::isa() const { return geometry_->table->isa; }
std::int64_t Plan::query_block() const {
  return runs_of(*geometry_).forward ? geometry_->kernel->tiles.query_block : kernels::kDecodeRows;
}
std::int64_t Plan::key_tile() const {
  return runs_of(*geometry_).forward ? geometry_->key_tile : kernels::kDecodeChunk;
}
std::string Plan::algorithm() const {
  const Runs runs = runs_of(*geometry_);
  return runs.forward && runs.decode ? "forward+decode" : runs.decode ? "decode" : "forward";
}
std::int64_t Plan::key_groups() const {
  std::int64_t most = 0;
  for (std::int64_t element = 0; element < geometry_->batch; ++element) {
    if (geometry_->decodes(element)) {
      most = std::max(most, regard::key_groups(*geometry_, element).count);
    }
  }
  return most;
}
DType Plan::product_dtype() const {
  return geometry_->dots != nullptr && runs_of(*geometry_).forward ? DType::bfloat16
                                                                   : geometry_->dtype;
}
DType Plan::query_dtype() const { return geometry_->out_dtype; }
DType Plan::key_dtype() const { return kept_as(geometry_->key, *geometry_); }
DType Plan::value_dtype() const { return kept_as(geometry_->value, *geometry_); }
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
double Plan::scale() const { return geometry_->scale.of(0); }
std::int64_t Plan::heads_a_unit() const { return geometry_->unit_heads; }

namespace {

/// Keys [begin, end) that query i of a head can reach by its position.
std::pair<std::int64_t, std::int64_t> reach(const Geometry& g, std::int64_t element,
                                            std::int64_t head, std::int64_t i) {
  const std::int64_t keys = g.keys_of(element), p = i + g.offset_of(element);
  return {std::clamp<std::int64_t>(p - g.left.of(head), 0, keys),
          std::clamp<std::int64_t>(p + g.right.of(head) + 1, 0, keys)};
}

/// Keys of [begin, end) that lie in tiles that a block mask holds.
std::int64_t keys_in_tiles(const Geometry& g, std::int64_t element, std::int64_t head,
                           std::int64_t i, std::int64_t begin, std::int64_t end) {
  const kernels::BlockMask tiles = score_unit(g, {element, head / g.unit_heads, 0, 1}).blocks;
  const std::int64_t row = i / tiles.size;
  std::int64_t count = 0;
  for (std::int64_t entry = tiles.row_begin[row]; entry < tiles.row_begin[row + 1]; ++entry) {
    const std::int64_t first = tiles.columns[entry] * tiles.size;
    count += std::max<std::int64_t>(0, std::min(end, first + tiles.size) - std::max(begin, first));
  }
  return count;
}

}  // namespace

double Plan::visible_share() const {
  const Geometry& g = *geometry_;
  const bool blocks = g.mask_kind == kernels::MaskKind::blocks;
  const bool heads_differ = g.left.differ() || g.right.differ() || g.blocks.head_stride != 0;
  const std::int64_t heads =
      heads_differ ? g.query_heads : std::min<std::int64_t>(g.query_heads, 1);
  double visible = 0, all = 0;
  for (std::int64_t element = 0; element < g.batch; ++element) {
    // Padding counts as hidden; packed pieces have none.
    all += static_cast<double>(heads) *
           (g.query_starts.empty() ? static_cast<double>(g.queries) * static_cast<double>(g.keys)
                                   : static_cast<double>(g.queries_of(element)) *
                                         static_cast<double>(g.keys_of(element)));
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t i = 0; i < g.queries_of(element); ++i) {
        const auto [begin, end] = reach(g, element, head, i);
        const std::int64_t count = std::max<std::int64_t>(end - begin, 0);
        visible +=
            static_cast<double>(blocks ? keys_in_tiles(g, element, head, i, begin, end) : count);
      }
    }
  }
  return all == 0 ? 0 : visible / all;
}

std::string Plan::options() const {
  const Geometry& g = *geometry_;
  std::string list;
  const auto add = [&](bool on, const char* what) {
    if (on) list += (list.empty() ? "" : ", ") + std::string(what);
  };
  add(g.cosine, "cosine");
  add(!g.softcap.empty(), "softcap");
  add(!g.alibi.empty(), "alibi");
  add(g.position_bias.table != nullptr, g.position_bias.width > 0 ? "grid bias" : "relative bias");
  add(g.bias.data != nullptr, "bias");
  add(g.mask_kind == kernels::MaskKind::bytes, "mask");
  add(g.mask_kind == kernels::MaskKind::bits, "packed mask");
  add(g.mask_kind == kernels::MaskKind::blocks, "block mask");
  add(!g.sinks.empty(), "sinks");
  add(g.dropout.threshold > 0, "dropout");
  return list;
}

namespace {

bool in_place(const Operand& operand, const Geometry& g) {
  auto element_size = static_cast<std::int64_t>(size(kept_as(operand, g)));
  const bool dense = operand.column_stride == element_size;
  if (!runs_of(g).forward) return dense;
  const bool whole_tiles = g.page_size == 0 || g.page_size % g.key_tile == 0;
  if (g.dots != nullptr) element_size *= 2;  // read in pairs
  return dense && (operand.storage == kernels::Storage::compute || g.dots != nullptr) &&
         whole_tiles && operand.row_stride % element_size == 0 &&
         operand.page_stride % element_size == 0 &&
         reinterpret_cast<std::uintptr_t>(operand.data) %
                 static_cast<std::uintptr_t>(element_size) ==
             0;
}

}  // namespace

bool Plan::key_in_place() const {
  const bool whole_pairs = product_dtype() != DType::bfloat16 || geometry_->head_dim % 2 == 0;
  return whole_pairs && in_place(geometry_->key, *geometry_);
}

bool Plan::value_in_place() const {
  if (product_dtype() == DType::bfloat16) return false;
  const bool whole_vectors = geometry_->value_dim % geometry_->kernel->tiles.lanes == 0;
  return (whole_vectors || !runs_of(*geometry_).forward) && in_place(geometry_->value, *geometry_);
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
