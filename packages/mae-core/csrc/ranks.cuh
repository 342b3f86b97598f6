// Ranks of a sample's noise by counting in shared memory: rank = number of patches that come before.
#pragma once

#include <cstdint>

#include "cuda_launch.cuh"
#include "launchers.h"
#include "layout.h"
#include "philox.h"

namespace mae {

constexpr int32_t kTile = 1024;  // keys in shared memory at a time
constexpr int32_t kTileQuads = kTile / 4;

struct RankScratch {
  KeyQuad keys[kTileQuads];
  int32_t order[kTile];  // order[rank] = patch
};

// Keys of patches 4q .. 4q+3 of a sample; patches behind the last one count before nothing.
__device__ __forceinline__ KeyQuad key_quad(const MaskingArgs& args, int64_t sample, int32_t q) {
  KeyQuad quad;
  if (args.noise == nullptr) {
    const PhiloxBlock bits =
        masking_bits4(args.seed, args.epoch, __ldg(args.index + sample), static_cast<uint32_t>(q));
    for (int w = 0; w < 4; ++w) quad.word[w] = 4 * q + w < args.length ? bits.word[w] : kPaddingKey;
  } else {
    const float* noise = args.noise + sample * args.length;
    for (int w = 0; w < 4; ++w) {
      quad.word[w] = 4 * q + w < args.length ? sort_key(__ldg(noise + 4 * q + w)) : kPaddingKey;
    }
  }
  return quad;
}

__device__ __forceinline__ void write_rank(const MaskingArgs& args, int64_t sample, int32_t patch, int32_t rank) {
  const int64_t at = sample * args.length + patch;
  args.ids_restore[at] = rank;
  args.mask[at] = rank < args.keep ? 0.0f : 1.0f;
}

__device__ __forceinline__ void write_order(const MaskingArgs& args, int64_t sample, int32_t rank, int32_t patch) {
  const int32_t removed = args.length - args.keep;
  if (rank < args.keep) {
    args.ids_keep[sample * args.keep + rank] = patch;
  } else {
    args.ids_remove[sample * removed + rank - args.keep] = patch;
  }
}

// Rank a sample of at most kTile patches; all threads of the block take part and afterwards see the order.
__device__ __forceinline__ void rank_sample(const MaskingArgs& args, int64_t sample, bool writes,
                                            RankScratch& scratch) {
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t quads = (args.length + 3) / 4;
  for (int32_t q = thread; q < quads; q += kThreads) scratch.keys[q] = key_quad(args, sample, q);
  __syncthreads();
  for (int32_t patch = thread; patch < args.length; patch += kThreads) {
    const uint32_t key = scratch.keys[patch >> 2].word[patch & 3];
    const int32_t rank = count_before(scratch.keys, quads, key, patch);
    scratch.order[rank] = patch;
    if (writes) write_rank(args, sample, patch, rank);
  }
  __syncthreads();
  if (!writes) return;
  for (int32_t rank = thread; rank < args.length; rank += kThreads) {
    write_order(args, sample, rank, scratch.order[rank]);
  }
}

// Rank kThreads patches of one sample against all of its tiles; grid (N, ceil(L / kThreads)), any L.
static __global__ void __launch_bounds__(kThreads) rank_kernel(MaskingArgs args) {
  __shared__ KeyQuad keys[kTileQuads];
  const int64_t sample = blockIdx.x;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t patch = static_cast<int32_t>(blockIdx.y) * kThreads + thread;
  const uint32_t key = key_quad(args, sample, patch >> 2).word[patch & 3];
  int32_t rank = 0;
  for (int32_t first = 0; first < args.length; first += kTile) {
    const int32_t quads = (min(kTile, args.length - first) + 3) / 4;
    __syncthreads();  // the previous tile is counted
    for (int32_t q = thread; q < quads; q += kThreads) keys[q] = key_quad(args, sample, first / 4 + q);
    __syncthreads();
    rank += count_before(keys, quads, key, patch - first);
  }
  if (patch >= args.length) return;
  write_rank(args, sample, patch, rank);
  write_order(args, sample, rank, patch);
}

inline bool is_usable(const MaskingArgs& args) {
  return args.samples >= 0 && args.samples <= kMaxGridX && args.length >= 1 && args.keep >= 0 &&
         args.keep <= args.length && (args.length - 1) / kThreads < kMaxGridY;
}

// Whether every block of a sample should count the ranks again rather than one launch before.
inline bool ranks_inside(int32_t length, int32_t blocks) {
  return length <= kThreads || (length <= kTile && blocks == 1);
}

inline cudaError_t launch_ranks(const MaskingArgs& args, cudaStream_t stream) {
  if (!is_usable(args)) return cudaErrorInvalidValue;
  if (args.samples == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(args.samples), static_cast<unsigned>((args.length - 1) / kThreads + 1));
  return launch(rank_kernel, grid, kThreads, 0, stream, args);
}

}  // namespace mae
