// What the dispatcher and a kernel say to each other: plain data, no code.
//
// A kernel is one instruction set and one compute type. This header is read by files compiled for
// an instruction set the running CPU may not have, so it must not contain anything the compiler
// could turn into a function: no constructors, no default member initialisers, no std types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "regard/score_function.hpp"

namespace regard::kernels {

/// A strided view of rows seen from one kv head; all strides in bytes, of any sign.
/// Element (g, i, c) is head g of the group, position i, column c.
struct Rows {
  char* data;
  std::ptrdiff_t head_stride;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t column_stride;
};

/// How the elements of an operand are kept.
enum class Storage : std::uint8_t {
  compute,   ///< as the compute type
  bfloat16,  ///< these three with float as the compute type
  float16,
  int8,  ///< times a float32 scale for each row
};

/// Keys or values of one kv head, where they are kept. With pages, row j is row j % page_size of
/// page pages[j / page_size], and `rows` and `scales` are those of page 0.
struct StoredRows {
  Rows rows;
  Storage storage;
  const char* scales;  ///< of int8, else null
  std::ptrdiff_t scale_stride;
  const std::int64_t* pages;  ///< null: rows follow each other
  std::int64_t page_size;
  std::ptrdiff_t page_stride, scale_page_stride;
};

/// How a mask lies in memory.
enum class MaskKind : std::uint8_t {
  none,
  bytes,   ///< nonzero = attend
  bits,    ///< 1 = attend; key j is bit j % 8 of byte j / 8 of its row
  blocks,  ///< a BlockMask
};

/// A mask in tiles of size x size, stored by rows of tiles (CSR). A tile that is not stored hides
/// all its keys. A tile of keys that a kernel takes never crosses one of these.
struct BlockMask {
  const std::int64_t* row_begin;  ///< row b of tiles is entries row_begin[b] .. row_begin[b + 1]
  const std::int32_t* columns;    ///< of the tiles, ascending in each row
  const std::int32_t* partial;    ///< -1: all of the tile is seen; else its number in `tiles`
  const std::uint8_t* tiles;      ///< size rows of size / 8 bytes each, bits as in MaskKind::bits
  std::int64_t size;              ///< a multiple of 16
};

/// A bias that depends on where query and key are: table[clamp(j - p, -reach, reach) + reach]; on a
/// grid (width > 0) table[(yi - yj + height - 1) (2 width - 1) + (xi - xj + width - 1)].
struct PositionBias {
  const void* table;  ///< of the compute type; null without such a bias
  std::int64_t reach;
  std::int64_t height;
  std::int64_t width;
};

/// Inverted dropout of the weights: Philox4x32-10 (Salmon et al. 2011) with the counter
/// (j / 4, i, head, element); key j takes word j % 4.
struct Dropout {
  std::uint64_t seed;
  std::uint32_t threshold;  ///< words below it drop their weight
  std::uint32_t head;       ///< the first query head of the group
  std::uint32_t element;    ///< batch element
  std::uint32_t query;      ///< i of the first query, where the call is a part of another
  std::int64_t key;         ///< j of the first key, likewise
  double keep_factor;       ///< 1 / (1 - p); 1 and threshold 0 without dropout
};

/// What the caller makes of scores.
struct ScoreModUnit {
  ScoreFunction function, gradient;
  std::int64_t head;     ///< the first query head of the group
  std::int64_t element;  ///< batch element
};

/// A block of query rows of one kv head against all its keys: which scores there are, and what is
/// done to them.
///
/// Under GQA the `group` query heads that share the kv head are interleaved: row r of the kv head
/// is query r / group of head r % group. Positions are then non-decreasing over the rows of a
/// block, which keeps the masked edge of a causal block as narrow as possible.
struct ScoreUnit {
  Rows query;        ///< (group, queries, head_dim)
  StoredRows key;    ///< (1, keys, head_dim)
  Rows mask;         ///< (group, queries, keys), for MaskKind::bytes and bits
  Rows bias;         ///< (group, queries, keys); data is null without a bias
  Rows query_scale;  ///< (group, queries, 1) of doubles; data is null without
  Storage query_storage, bias_storage;
  MaskKind mask_kind;
  BlockMask blocks;
  PositionBias position_bias;
  ScoreModUnit score_mod;
  std::int64_t group;
  std::int64_t first_row;
  std::int64_t row_count;  ///< 1 .. query_block
  std::int64_t key_count;  ///< keys of this batch element that count
  std::int64_t head_dim;
  std::int64_t key_tile;
  /// Query i sits at p = i + offset and sees the keys i + reach_begin <= j < i + reach_end.
  std::int64_t offset;
  std::int64_t reach_begin;
  std::int64_t reach_end;
  bool cosine;  ///< scores are cosines of the angles between queries and keys
  /// One entry a head of the group; null: off.
  const double* scale;      ///< never null
  std::int64_t scale_step;  ///< from head to head: 1, or 0 if all have the same
  const double* softcap;    ///< 0: off for this head
  const double* alibi;      ///< slopes
  const double* sink;       ///< one more logit in the softmax's sum
};

/// Forward attention of one block.
struct ForwardUnit {
  ScoreUnit scores;
  StoredRows value;  ///< (1, keys, value_dim)
  Rows out;          ///< (group, queries, value_dim)
  Rows lse;          ///< (group, queries, 1) of the compute type; data is null when not asked for
  Storage out_storage;
  std::int64_t value_dim;
  bool value_in_key;  ///< value is the first columns of key, in the same memory
  Dropout dropout;
  void* scratch;  ///< scratch_bytes(...) bytes, aligned to 64, contents arbitrary
};

/// A block of rows against one group of the keys that it sees, [first_key, last_key). What the
/// groups come to is merged in their order; with the last one, the output is written.
struct GroupUnit {
  ForwardUnit forward;
  std::int64_t first_key, last_key;  ///< the first is a multiple of the tile of keys
  std::int64_t group, groups;
  void* total;  ///< what the groups before have come to: group_state_bytes
  /// Units take turns at `total`, as those of BackwardUnit: wait(turn, n) returns once groups
  /// before n are merged, pass(turn, n) says that they are.
  void (*wait)(void* turn, std::int64_t groups);
  void (*pass)(void* turn, std::int64_t groups);
  void* turn;
};

/// Most rows of a kv head that are decoded: read against the keys in dot form.
inline constexpr std::int64_t kDecodeRows = 8;
/// Keys that are scored before they are weighed. Chunks start at multiples of it.
inline constexpr std::int64_t kDecodeChunk = 256;

/// How decoding asks for the rows that it will read (isa/fetch.hpp).
struct Fetch {
  std::int64_t ahead;  ///< bytes of rows
  bool into_l2;        ///< and no further, else into L1
};

/// A few rows (forward.scores.row_count <= kDecodeRows) against groups of keys: group n has the
/// keys from first_key + n group_keys on.
struct DecodeUnit {
  ForwardUnit forward;
  std::int64_t first_key;  ///< a multiple of kDecodeChunk, as is group_keys
  std::int64_t group_keys;
  std::int64_t groups;                   ///< of these rows
  std::int64_t first_group, last_group;  ///< of this unit
  void* parts;  ///< states of all groups, decode_state_bytes each; null: this unit has all groups
  Fetch fetch;
};

/// Gradients of one block of rows. All are added to; those whose data is null are not wanted.
/// Gradients, lse and dlse are of the compute type.
struct BackwardUnit {
  ScoreUnit scores;
  StoredRows value;  ///< (1, keys, value_dim)
  Rows out, dout;    ///< (group, queries, value_dim)
  Rows lse, dlse;    ///< (group, queries, 1); dlse.data may be null
  Storage out_storage;
  Rows dquery;  ///< as query
  Rows dkey;    ///< as key, added to in turn
  Rows dvalue;  ///< as value, added to in turn
  Rows dbias;   ///< as bias; in turn if shared with other units
  bool dbias_shared;
  Rows dquery_scale;  ///< (group, queries, 1) of doubles
  double* dsink;      ///< (group), this block's own part, written
  double* dalibi;     ///< (group), the same of the slopes
  double* dtable;     ///< of the position bias (group = 1), added to in turn
  std::int64_t table_size;
  std::int64_t value_dim;
  Dropout dropout;
  /// Units take turns at what they share, key by key. wait(turn, end) returns once all units before
  /// this one are done with the keys below `end`; pass(turn, end) says that this one is as well.
  void (*wait)(void* turn, std::int64_t end);
  void (*pass)(void* turn, std::int64_t end);
  void* turn;
  void* scratch;
};

/// Forward attention of one block, and how it moves. Moves are of the compute type; those of null
/// data are 0.
struct TangentUnit {
  ScoreUnit scores;
  StoredRows value;
  Rows dquery, dkey, dvalue;  ///< as query, key, value
  Rows out, dout;             ///< (group, queries, value_dim)
  Rows lse, dlse;             ///< (group, queries, 1); data is null when not asked for
  Storage out_storage;
  std::int64_t value_dim;
  Dropout dropout;
  void* scratch;
};

/// The weights of one block of rows (group = 1), for the keys [first_key, last_key).
struct WeightsUnit {
  ScoreUnit scores;
  bool before_softmax;  ///< the scores in place of the weights, -inf where hidden
  Rows out;             ///< (1, rows of the block, keys from first_key on)
  std::int64_t first_key, last_key;
  void* scratch;
};

/// What is looked for in the weights of one block of rows (group = 1); every pointer is to this
/// head's own part. Numbers are of the compute type.
struct SummaryUnit {
  ScoreUnit scores;
  char* lse;           ///< (queries)
  char* entropy;       ///< (queries)
  char* row_max;       ///< (queries)
  std::int64_t top_k;  ///< the largest weights of each row, with their keys
  char* top_weights;   ///< (queries, top_k)
  std::int64_t* top_keys;
  double* column_sums;                    ///< (keys), added to
  double* pooled;                         ///< (query_cells, key_cells), added to
  std::int64_t query_length, key_length;  ///< what the cells of `pooled` share out evenly
  std::int64_t query_cells, key_cells;
  void* scratch;
};

/// Rows to be copied into a store of another type.
struct StoreUnit {
  Rows source, target;
  Storage source_storage, target_storage;
  char* scales;  ///< float32, one a row, written for int8
  std::ptrdiff_t scale_stride;
  std::int64_t count, columns;
  void* scratch;  ///< `columns` numbers of the compute type, and a vector more
};

/// Sizes that scratch memory depends on.
struct ScratchSizes {
  std::int64_t head_dim;
  std::int64_t value_dim;
  std::int64_t key_tile;
  std::int64_t top_k;
  bool score_mod;
};

/// Sizes that the scratch memory of gradients depends on.
struct BackwardSizes {
  std::int64_t head_dim;
  std::int64_t value_dim;
  std::int64_t key_tile;
  std::int64_t table_size;  ///< 0 if no gradient of a position bias is wanted
  bool score_mod;
};

/// What blocks of rows and tiles of keys a kernel is made for.
struct TileSizes {
  std::int64_t lanes;        ///< queries in one vector: blocks start at multiples of this
  std::int64_t panel_rows;   ///< rows that share a pass over a tile
  std::int64_t query_block;  ///< most rows in a unit: several panels
  std::int64_t key_tile;     ///< keys a tile, for sequences longer than one tile
};

/// The kernels of one compute type.
struct Kernels {
  TileSizes tiles;
  void (*forward)(const ForwardUnit& unit);
  void (*forward_group)(const GroupUnit& unit);
  std::size_t (*group_state_bytes)(std::int64_t rows, std::int64_t value_dim);  ///< of a block
  void (*decode)(const DecodeUnit& unit);
  void (*finish_decode)(const DecodeUnit& unit);  ///< once the states of all groups are there
  std::size_t (*decode_state_bytes)(std::int64_t value_dim);
  void (*weights)(const WeightsUnit& unit);
  void (*summary)(const SummaryUnit& unit);
  std::size_t (*scratch_bytes)(const ScratchSizes& sizes);  ///< enough for each of them
  void (*store_rows)(const StoreUnit& unit);
  /// FMA ceiling: `steps` rounds of independent register-only FMAs; returns floating-point
  /// operations done.
  double (*fma)(std::int64_t steps);
  /// Reads so many bytes, whole KiB, and asks for those `ahead` of it if that is not 0.
  void (*read)(const char* data, std::int64_t bytes, std::int64_t ahead);
  TileSizes backward_tiles;
  void (*backward)(const BackwardUnit& unit);
  std::size_t (*backward_bytes)(const BackwardSizes& sizes);
  void (*tangent)(const TangentUnit& unit);
  std::size_t (*tangent_bytes)(const ScratchSizes& sizes);
};

/// What each instruction set has.
struct FloatKernels {
  Kernels f32;
  Kernels f64;
};

/// Forward attention by dot products of pairs of bfloat16, for queries, keys and values that are
/// all bfloat16. Tiles are those of f32.
struct DotKernels {
  void (*forward)(const ForwardUnit& unit);
  void (*forward_group)(const GroupUnit& unit);
  std::size_t (*scratch_bytes)(const ScratchSizes& sizes);
  double (*dot)(std::int64_t steps);  ///< as Kernels::fma
};

extern const FloatKernels generic_kernels;
extern const FloatKernels avx2_kernels;
extern const FloatKernels avx512_kernels;
extern const FloatKernels neon_kernels;
extern const DotKernels avx512_bf16_kernels;

/// What calls use at one level. A level adds to a narrower one without a copy of its code.
struct KernelTable {
  const char* isa;
  const FloatKernels* floats;
  const DotKernels* bf16;  ///< null: bfloat16 is widened
};

}  // namespace regard::kernels
