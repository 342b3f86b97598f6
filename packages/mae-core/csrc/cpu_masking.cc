// Ranks by sorting, and the kept tokens or patches of each sample, one thread per sample.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu_image.h"
#include "cpu_kernels.h"
#include "layout.h"
#include "parallel.h"
#include "philox.h"

namespace mae {
namespace cpu {
namespace {

bool is_usable(const MaskingArgs& args) {
  return args.length >= 1 && args.keep >= 0 && args.keep <= args.length && args.samples >= 0 &&
         (args.noise != nullptr || args.index != nullptr || args.samples == 0);
}

// Sort keys of the patches of a sample, the patch number in the lower half: all differ, and ties go by number.
void fill_keys(const MaskingArgs& args, int64_t sample, std::vector<uint64_t>& keys) {
  const uint32_t length = static_cast<uint32_t>(args.length);
  if (args.noise != nullptr) {
    const float* noise = args.noise + sample * args.length;
    for (uint32_t i = 0; i < length; ++i) keys[i] = static_cast<uint64_t>(sort_key(noise[i])) << 32 | i;
    return;
  }
  for (uint32_t i = 0; i < length; i += 4) {
    const PhiloxBlock bits = masking_bits4(args.seed, args.epoch, args.index[sample], i / 4);
    for (uint32_t w = 0; w < 4 && i + w < length; ++w) keys[i + w] = static_cast<uint64_t>(bits.word[w]) << 32 | (i + w);
  }
}

void rank_sample(const MaskingArgs& args, int64_t sample) {
  thread_local std::vector<uint64_t> keys;
  keys.resize(static_cast<size_t>(args.length));
  fill_keys(args, sample, keys);
  std::sort(keys.begin(), keys.end());
  const int64_t removed = args.length - args.keep;
  int64_t* restore = args.ids_restore + sample * args.length;
  float* mask = args.mask + sample * args.length;
  for (int64_t rank = 0; rank < args.length; ++rank) {
    const int64_t patch = static_cast<int64_t>(keys[static_cast<size_t>(rank)] & 0xFFFFFFFFu);
    const bool is_kept = rank < args.keep;
    (is_kept ? args.ids_keep[sample * args.keep + rank] : args.ids_remove[sample * removed + rank - args.keep]) = patch;
    restore[patch] = rank;
    mask[patch] = is_kept ? 0.0f : 1.0f;
  }
}

// Rank each sample, then call gather(sample, row, patch) for each of its kept rows.
template <class Gather>
int for_kept_rows(const MaskingArgs& args, Gather gather) {
  if (!is_usable(args)) return 1;
  parallel_for(args.samples, [&](int64_t sample) {
    rank_sample(args, sample);
    for (int64_t row = sample * args.keep; row < (sample + 1) * args.keep; ++row) gather(sample, row, args.ids_keep[row]);
  });
  return 0;
}

}  // namespace

int mask(const MaskingArgs& masking) {
  return for_kept_rows(masking, [](int64_t, int64_t, int64_t) {});
}

int mask_tokens(const MaskingArgs& masking, const void* x, int32_t dim, int32_t element_size, void* visible) {
  const int64_t bytes = static_cast<int64_t>(dim) * element_size;
  const char* from = static_cast<const char*>(x);
  char* to = static_cast<char*>(visible);
  return for_kept_rows(masking, [&](int64_t sample, int64_t row, int64_t patch) {
    std::memcpy(to + row * bytes, from + (sample * masking.length + patch) * bytes, static_cast<size_t>(bytes));
  });
}

int mask_tokens_backward(const void* grad_visible, const int64_t* ids_restore, int64_t samples, int32_t length,
                         int32_t keep, int32_t dim, int32_t element_size, void* grad_x) {
  const size_t bytes = static_cast<size_t>(dim) * static_cast<size_t>(element_size);
  const char* from = static_cast<const char*>(grad_visible);
  char* to = static_cast<char*>(grad_x);
  parallel_for(samples * length, [&](int64_t row) {
    const int64_t rank = ids_restore[row];
    char* out = to + static_cast<size_t>(row) * bytes;
    if (rank >= 0 && rank < keep) {
      std::memcpy(out, from + static_cast<size_t>(row / length * keep + rank) * bytes, bytes);
    } else {
      std::memset(out, 0, bytes);
    }
  });
  return 0;
}

int mask_image(const MaskingArgs& masking, const ImageArgs& image, void* visible) {
  if (!is_usable(image)) return 1;
  const PatchReader reader(image);
  if (reader.patches() != masking.length) return 1;
  const int64_t count = reader.patch_elements();
  return for_kept_rows(masking, [&](int64_t sample, int64_t row, int64_t patch) {
    const int64_t first = reader.first_pixel(sample, patch);
    if (reader.is_stored()) {
      reader.read_stored(first, static_cast<float*>(visible) + row * count);
    } else if (image.dtype == kFloat32) {
      reader.read_values(first, static_cast<float*>(visible) + row * count);
    } else {
      reader.read_values(first, static_cast<uint16_t*>(visible) + row * count);
    }
  });
}

}  // namespace cpu
}  // namespace mae
