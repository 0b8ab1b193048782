// Block masks made of whatever bytes come, some of them spoilt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "fuzz_arrays.hpp"
#include "regard/attention.hpp"

namespace regard::fuzz {

/// A block mask and its arrays.
struct Tiles {
  BlockMask mask;
  std::vector<std::int64_t> row_begin;
  std::vector<std::int32_t> columns, partial;
  std::vector<std::uint8_t> bits;
};

/// Spoils one element of an array of a block mask, or the array's length.
template <class T>
void corrupt(Bytes& bytes, std::vector<T>& numbers) {
  if (numbers.empty()) return;
  if (bytes.rarely(4)) return numbers.pop_back();
  constexpr std::int64_t spoilt[] = {-2, -1, 0, 1, 2, 1000, 2147483647, -2147483648};
  numbers[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(numbers.size())))] =
      static_cast<T>(spoilt[bytes.below(8)]);
}

inline std::unique_ptr<Tiles> make_tiles(Bytes& bytes, const std::vector<std::int64_t>& batch,
                                         std::int64_t heads, std::int64_t queries,
                                         std::int64_t keys) {
  auto tiles = std::make_unique<Tiles>();
  BlockMask& mask = tiles->mask;
  if (bytes.rarely(2)) {
    mask.leading = batch;
    mask.leading.push_back(bytes.rarely(2) ? 1 : heads);
  }
  if (bytes.rarely(32)) mask.leading.push_back(bytes.below(3));
  mask.queries = queries + (bytes.rarely(32) ? bytes.below(20) - 10 : 0);
  mask.keys = keys + (bytes.rarely(32) ? bytes.below(20) - 10 : 0);
  mask.block_size = 16 * (1 + bytes.below(9));
  const auto blocks = [&](std::int64_t n) { return (n + mask.block_size - 1) / mask.block_size; };
  std::int64_t rows = blocks(mask.queries);
  for (const std::int64_t extent : mask.leading) rows *= extent;
  const std::int64_t held = bytes.below(4), shift = bytes.below(8);
  tiles->row_begin.push_back(0);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < blocks(mask.keys); ++column) {
      // Few bytes for many rows: what they say is repeated, shifted.
      const std::int64_t choice = row % 8 == 0 ? bytes.next() : row * 37 + column * shift;
      if (choice % 3 == 0) continue;
      tiles->columns.push_back(static_cast<std::int32_t>(column));
      tiles->partial.push_back(
          static_cast<std::int32_t>(choice % 3 == 1 || held == 0 ? -1 : choice % held));
    }
    tiles->row_begin.push_back(static_cast<std::int64_t>(tiles->columns.size()));
  }
  // Bits outside the mask, which should be 0, are whatever comes.
  tiles->bits.resize(static_cast<std::size_t>(held * mask.block_size * mask.block_size / 8));
  const std::uint8_t pattern = bytes.next();
  std::iota(tiles->bits.begin(), tiles->bits.end(), pattern);
  if (bytes.rarely(4)) {
    switch (bytes.below(5)) {
      case 0: corrupt(bytes, tiles->row_begin); break;
      case 1: corrupt(bytes, tiles->columns); break;
      case 2: corrupt(bytes, tiles->partial); break;
      case 3: corrupt(bytes, tiles->bits); break;
      default: mask.block_size += bytes.below(40) - 20;
    }
  }
  // AddressSanitizer watches what lies behind a block, not behind a vector's size.
  tiles->row_begin = std::vector(tiles->row_begin);
  tiles->columns = std::vector(tiles->columns);
  tiles->partial = std::vector(tiles->partial);
  tiles->bits = std::vector(tiles->bits);
  mask.row_begin = tiles->row_begin;
  mask.columns = tiles->columns;
  mask.partial = tiles->partial;
  mask.tiles = tiles->bits;
  return tiles;
}

}  // namespace regard::fuzz
