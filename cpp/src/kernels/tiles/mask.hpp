// A mask's part for one tile: bytes, bits or tiles of a block mask, seen row by row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_api.hpp"
#include "kernels/simd/unroll.hpp"
#include "kernels/tiles/pack.hpp"
#include "kernels/tiles/reach.hpp"

namespace regard::kernels {
namespace {

/// Bits [bit, bit + count) of a row, count <= 16, as the low bits of the result. Reads no byte that
/// holds none of them.
inline std::uint32_t read_bits(const std::uint8_t* row, std::int64_t bit, std::int64_t count) {
  const std::uint8_t* at = row + (bit >> 3);
  const auto shift = static_cast<unsigned>(bit & 7);
  const std::int64_t bytes = (static_cast<std::int64_t>(shift) + count + 7) >> 3;
  std::uint32_t word = 0;
  for (std::int64_t i = 0; i < bytes; ++i) {
    word |= static_cast<std::uint32_t>(at[i]) << static_cast<unsigned>(8 * i);
  }
  return (word >> shift) & ((1u << static_cast<unsigned>(count)) - 1u);
}

/// Entry of the tile that covers key `key` in row `b` of tiles, or -1.
inline std::int64_t find_tile(const BlockMask& mask, std::int64_t b, std::int64_t key) {
  const auto column = static_cast<std::int32_t>(key / mask.size);
  std::int64_t low = mask.row_begin[b], high = mask.row_begin[b + 1];
  const std::int64_t end = high;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (mask.columns[middle] < column) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < end && mask.columns[low] == column ? low : -1;
}

/// Whether the mask lets a row see key j.
inline bool mask_allows(const ScoreUnit& u, std::int64_t row, std::int64_t j) {
  if (u.mask_kind == MaskKind::none) return true;
  if (u.mask_kind == MaskKind::blocks) {
    const std::int64_t i = query_of(u, row);
    const std::int64_t entry = find_tile(u.blocks, i / u.blocks.size, j);
    if (entry < 0) return false;
    const std::int64_t number = u.blocks.partial[entry], size = u.blocks.size;
    if (number < 0) return true;
    const std::uint8_t* bits = u.blocks.tiles + (number * size + i % size) * (size / 8);
    return read_bits(bits, j % size, 1) != 0;
  }
  const char* at = row_address(u.mask, u.group, row);
  if (u.mask_kind == MaskKind::bytes) return at[j * u.mask.column_stride] != 0;
  return read_bits(reinterpret_cast<const std::uint8_t*>(at), j, 1) != 0;
}

/// sees[j] != 0: the mask lets a row see key begin + j, for `count` keys.
inline void visible_keys(const ScoreUnit& u, std::int64_t row, std::int64_t begin,
                         std::int64_t count, std::uint8_t* sees) {
  const auto spread = [&](const std::uint8_t* bits, std::int64_t bit, std::int64_t n) {
    for (std::int64_t j = 0; j < n; j += 16) {
      const std::int64_t some = n - j < 16 ? n - j : 16;
      const std::uint32_t word = read_bits(bits, bit + j, some);
      for (std::int64_t i = 0; i < some; ++i) {
        *sees++ = static_cast<std::uint8_t>((word >> static_cast<unsigned>(i)) & 1u);
      }
    }
  };
  if (u.mask_kind == MaskKind::blocks) {
    const std::int64_t i = query_of(u, row), size = u.blocks.size;
    for (std::int64_t key = begin; key < begin + count;) {
      const std::int64_t next = (key / size + 1) * size;
      const std::int64_t n = (next < begin + count ? next : begin + count) - key;
      const std::int64_t entry = find_tile(u.blocks, i / size, key);
      const std::int64_t number = entry < 0 ? -1 : u.blocks.partial[entry];
      if (number < 0) {
        for (std::int64_t j = 0; j < n; ++j) *sees++ = entry >= 0;
      } else {
        spread(u.blocks.tiles + (number * size + i % size) * (size / 8), key % size, n);
      }
      key += n;
    }
    return;
  }
  const char* at = row_address(u.mask, u.group, row);
  if (u.mask_kind == MaskKind::bits) {
    return spread(reinterpret_cast<const std::uint8_t*>(at), begin, count);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    sees[j] = static_cast<std::uint8_t>(at[(begin + j) * u.mask.column_stride] != 0);
  }
}

enum class Seen : std::uint8_t { all, none, some };

template <class V>
class MaskTile {
 public:
  explicit MaskTile(const ScoreUnit& unit) : u(unit) {
    if (u.mask_kind != MaskKind::blocks) return;
    for (auto& byte : nothing) byte = 0;
    for (auto& byte : everything) byte = 0xFF;
  }

  /// Looks at rows [row, row + rows) of the block and `count` keys from `begin`: whether all, none
  /// or some of the mask lets through. Only for `some` is `gather` called.
  Seen look(std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t count) {
    row_count = rows;
    if (u.mask_kind == MaskKind::blocks) return look_at_tiles(u.first_row + row, begin);
    bool any = false, all = true;
    for (std::int64_t r = 0; r < rows; ++r) {
      at[r] = row_address(u.mask, u.group, u.first_row + row + r);
    }
    first = begin;
    for (std::int64_t r = 0; r < rows && (all || !any); ++r) {
      if (r > 0 && at[r] == at[r - 1]) continue;  // broadcast along the queries
      if (u.mask_kind == MaskKind::bytes) {
        inspect_bytes(at[r] + begin * u.mask.column_stride, u.mask.column_stride, count, any, all);
      } else {
        inspect_bits(reinterpret_cast<const std::uint8_t*>(at[r]), begin, count, any, all);
      }
    }
    return all ? Seen::all : any ? Seen::some : Seen::none;
  }

  /// flags()[j * keys + lane] != 0: the row in this lane, from `r` on, sees key `key` + j of the
  /// tile.
  void gather(std::int64_t r, std::int64_t key, std::int64_t count) {
    const std::int64_t lanes = row_count - r < V::lanes ? row_count - r : V::lanes;
    const char* rows[V::lanes];
    if (u.mask_kind == MaskKind::bytes) {
      for (std::int64_t i = 0; i < lanes; ++i) {
        rows[i] = at[r + i] + (first + key) * u.mask.column_stride;
      }
      if (count > keys) __builtin_unreachable();  // GCC would warn of writes past the end
      transpose_mask<V>(rows, lanes, u.mask.column_stride, count, transposed, keys);
      return;
    }
    for (std::int64_t i = 0; i < lanes; ++i) {
      const auto* bits = reinterpret_cast<const std::uint8_t*>(at[r + i]);
      spread(read_bits(bits, first + key, count), spread_rows + i * keys);
      rows[i] = reinterpret_cast<const char*>(spread_rows + i * keys);
    }
    transpose_mask<V>(rows, lanes, 1, keys, transposed, keys);
  }

  static constexpr std::int64_t keys = 16;  ///< a block; bytes are transposed 16 at a time
  const std::uint8_t* flags(std::int64_t j) const { return transposed + j * keys; }

 private:
  const ScoreUnit& u;
  std::int64_t row_count = 0;
  std::int64_t first = 0;         ///< number of the tile's first key in `at`
  const char* at[V::panel_rows];  ///< of each row: its first byte, as bytes or bits
  std::uint8_t nothing[V::key_tile / 8], everything[V::key_tile / 8];
  alignas(64) std::uint8_t transposed[keys * keys];
  alignas(64) std::uint8_t spread_rows[V::lanes * keys];

  /// Rows of a panel may lie in several rows of tiles; the keys never do. Most tiles are seen by
  /// all of the panel or by none, and nothing is done for its rows one by one.
  Seen look_at_tiles(std::int64_t row, std::int64_t begin) {
    const std::int64_t size = u.blocks.size;
    const std::int64_t first_b = query_of(u, row) / size;
    const std::int64_t last_b = query_of(u, row + row_count - 1) / size;
    bool any = false, all = true;
    for (std::int64_t b = first_b; b <= last_b; ++b) {
      const std::int64_t entry = find_tile(u.blocks, b, begin);
      any |= entry >= 0;
      all &= entry >= 0 && u.blocks.partial[entry] < 0;
    }
    if (all || !any) return all ? Seen::all : Seen::none;
    const std::int64_t within = begin % size / 8 * 8;
    first = begin % size - within;
    for (std::int64_t r = 0; r < row_count;) {
      const std::int64_t i = query_of(u, row + r), b = i / size;
      const std::int64_t entry = find_tile(u.blocks, b, begin);
      const std::int64_t next = (b + 1) * size * u.group - row;  // first row of the next tiles
      const std::int64_t end = next < row_count ? next : row_count;
      for (; r < end; ++r) {
        const std::uint8_t* bits = nothing;
        if (entry >= 0) bits = bits_of_row(entry, query_of(u, row + r) - b * size, within);
        at[r] = reinterpret_cast<const char*>(bits);
      }
    }
    return Seen::some;
  }

  const std::uint8_t* bits_of_row(std::int64_t entry, std::int64_t i, std::int64_t bit) const {
    const std::int64_t number = u.blocks.partial[entry], size = u.blocks.size;
    if (number < 0) return everything;
    return u.blocks.tiles + (number * size + i) * (size / 8) + bit / 8;
  }

  static void inspect_bytes(const char* p, std::ptrdiff_t stride, std::int64_t count, bool& any,
                            bool& all) {
    unsigned char some = 0, every = 1;
    if (stride == 1) {  // a loop the compiler turns into vectors
      for (std::int64_t j = 0; j < count; ++j) {
        const unsigned char attend = p[j] != 0;
        some |= attend;
        every &= attend;
      }
    } else {
      for (std::int64_t j = 0; j < count; ++j) {
        const unsigned char attend = p[j * stride] != 0;
        some |= attend;
        every &= attend;
      }
    }
    any |= some != 0;
    all &= every != 0;
  }

  static void inspect_bits(const std::uint8_t* row, std::int64_t begin, std::int64_t count,
                           bool& any, bool& all) {
    for (std::int64_t j = 0; j < count; j += 16) {
      const std::int64_t n = count - j < 16 ? count - j : 16;
      const std::uint32_t bits = read_bits(row, begin + j, n);
      any |= bits != 0;
      all &= bits == (1u << static_cast<unsigned>(n)) - 1u;
    }
  }

  /// 16 bits to 16 bytes, nonzero where the bit is set.
  static void spread(std::uint32_t bits, std::uint8_t* to) {
    for (unsigned half = 0; half < 2; ++half) {
      const std::uint64_t byte = (bits >> (8 * half)) & 0xFF;
      const std::uint64_t bytes = (byte * 0x0101010101010101u) & 0x8040201008040201u;
      __builtin_memcpy(to + 8 * half, &bytes, sizeof bytes);  // little-endian, as all its CPUs are
    }
  }
};

}  // namespace
}  // namespace regard::kernels
