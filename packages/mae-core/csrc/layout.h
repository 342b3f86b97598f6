// Index arithmetic of the kernels: order of the noise, ranks by counting, division by constants, shares.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace mae {

constexpr uint32_t kNanKey = 0xFFFFFFFEu;
constexpr uint32_t kPaddingKey = 0xFFFFFFFFu;  // counts before nothing, since keys end at kNanKey

// Map a float to an integer of the same order: -0 equals 0, NaNs are equal and come last, as in a stable
// argsort. A total order makes the ranks a permutation whatever the input, so no index leaves its array.
MAE_HOST_DEVICE uint32_t sort_key(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return kNanKey;
  if (bits == 0x80000000u) bits = 0;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

struct alignas(16) KeyQuad {
  uint32_t word[4];
};

// Count the patches of a tile that come before a patch: smaller key, or equal key and smaller number.
// `patch` is relative to the tile's first patch and may lie before or behind the tile.
MAE_HOST_DEVICE int32_t count_before(const KeyQuad* keys, int32_t quads, uint32_t key, int32_t patch) {
  const int32_t own = patch >> 2;
  int32_t count = 0;
  for (int32_t q = 0; q < quads; ++q) {
    const KeyQuad quad = keys[q];
    const uint32_t bound = q < own ? key + 1 : key;  // equal keys count as well where all numbers are smaller
    for (int w = 0; w < 4; ++w) count += quad.word[w] < bound;
  }
  if (own >= 0 && own < quads) {
    for (int w = 0; w < (patch & 3); ++w) count += keys[own].word[w] == key;
  }
  return count;
}

// Division of numbers below a limit by a divisor that is known at launch only: one multiplication.
struct Divider {
  uint32_t divisor;
  uint32_t magic;  // floor(2^32 / divisor) + 1, exact while number * divisor < 2^32; 0 for divisor 1

  MAE_HOST_DEVICE int32_t quotient(int32_t number) const {
    const uint64_t product = static_cast<uint64_t>(static_cast<uint32_t>(number)) * magic;
    return magic == 0 ? number : static_cast<int32_t>(product >> 32);
  }
};

inline bool is_dividable(int64_t divisor, int64_t limit) { return divisor * limit < (1ll << 32); }

inline Divider make_divider(int32_t divisor) {
  const uint64_t d = static_cast<uint64_t>(divisor);
  return Divider{static_cast<uint32_t>(d), static_cast<uint32_t>(d > 1 ? (1ull << 32) / d + 1 : 0)};
}

// The rows [begin, end) that one of several blocks handles; shares differ by one row at most.
struct Share {
  int32_t begin;
  int32_t end;
};

MAE_HOST_DEVICE Share share_of(int32_t rows, int32_t parts, int32_t part) {
  const int64_t total = rows;
  return Share{static_cast<int32_t>(total * part / parts), static_cast<int32_t>(total * (part + 1) / parts)};
}

}  // namespace mae
