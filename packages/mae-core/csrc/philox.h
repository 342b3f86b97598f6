// Philox 4x32-10 (Salmon et al., SC 2011) and the masking noise drawn from it.
//
// Bit-identical to mae_core/ops/philox.py: the block of patches 4b .. 4b+3 has the counter
// (b, index low, index high, epoch) and the key (seed low, seed high); patch 4b+w takes word w,
// whose upper 24 bits become a float in [0, 1).
#pragma once

#include <cstdint>

#include "host_device.h"

namespace mae {

struct PhiloxBlock {
  uint32_t word[4];
};

MAE_HOST_DEVICE PhiloxBlock philox4x32_10(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(c0) * 0xD2511F53u;
    const uint64_t product1 = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<uint32_t>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return PhiloxBlock{{c0, c1, c2, c3}};
}

// The 24 random bits of patches 4*block .. 4*block + 3. They order like the noise, which is bits * 2^-24
// without rounding, so ranks may be taken from them.
MAE_HOST_DEVICE PhiloxBlock masking_bits4(uint64_t seed, uint32_t epoch, int64_t index, uint32_t block) {
  const uint64_t sample = static_cast<uint64_t>(index);
  const PhiloxBlock counter{
      {block, static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32), epoch}};
  PhiloxBlock bits =
      philox4x32_10(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  for (int w = 0; w < 4; ++w) bits.word[w] >>= 8;
  return bits;
}

// The noise of patches 4*block .. 4*block + 3.
MAE_HOST_DEVICE void philox4(uint64_t seed, uint32_t epoch, int64_t index, uint32_t block, float out[4]) {
  const PhiloxBlock bits = masking_bits4(seed, epoch, index, block);
  for (int w = 0; w < 4; ++w) out[w] = static_cast<float>(bits.word[w]) * (1.0f / 16777216.0f);
}

// The noise of one patch, in [0, 1).
MAE_HOST_DEVICE float masking_noise(uint64_t seed, uint32_t epoch, int64_t index, uint32_t patch) {
  const PhiloxBlock bits = masking_bits4(seed, epoch, index, patch / 4);
  return static_cast<float>(bits.word[patch % 4]) * (1.0f / 16777216.0f);
}

}  // namespace mae
