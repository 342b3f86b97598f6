// Masking and gathering in one pass: ranks, ids and mask, and the kept tokens or patches of each sample.
#pragma once

#include <cstdint>

#include "cuda_launch.cuh"
#include "launchers.h"
#include "numeric.cuh"
#include "pixels.cuh"
#include "ranks.cuh"

namespace mae {

template <class Vec>
__device__ __forceinline__ void copy_row(const Vec* __restrict__ from, Vec* __restrict__ to, int32_t count) {
  constexpr int kBatch = 4;  // accesses in flight per lane
  for (int32_t first = lane_number(); first < count; first += kBatch * kWarp) {
    Vec values[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (first + b * kWarp < count) values[b] = __ldg(from + first + b * kWarp);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (first + b * kWarp < count) to[first + b * kWarp] = values[b];
    }
  }
}

// Call visit(row, patch) for each kept row of this block's share, one warp per row; grid (N, shares).
template <class Visit>
__device__ __forceinline__ void for_kept_rows(const MaskingArgs& args, bool ranks_here, Visit visit) {
  __shared__ RankScratch scratch;
  const int64_t sample = blockIdx.x;
  if (ranks_here) rank_sample(args, sample, blockIdx.y == 0, scratch);
  const Share share =
      share_of(args.keep, static_cast<int32_t>(gridDim.y), static_cast<int32_t>(blockIdx.y));
  for (int32_t row = share.begin + warp_number(); row < share.end; row += kWarps) {
    const int64_t patch = ranks_here ? scratch.order[row] : args.ids_keep[sample * args.keep + row];
    visit(row, static_cast<int32_t>(patch));
  }
}

// Strides and counts are in Vec.
template <class Vec>
__global__ void __launch_bounds__(kThreads, 4)
    mask_tokens_kernel(MaskingArgs args, bool ranks_here, const Vec* x, int64_t stride_n, int64_t stride_l,
                       int32_t row_count, Vec* visible) {
  const int64_t sample = blockIdx.x;
  for_kept_rows(args, ranks_here, [&](int32_t row, int32_t patch) {
    copy_row(x + sample * stride_n + patch * stride_l, visible + (sample * args.keep + row) * row_count,
             row_count);
  });
}

template <class T, bool kPacked, class Out, int V>
__global__ void __launch_bounds__(kThreads, 4)
    mask_image_kernel(MaskingArgs args, bool ranks_here, PatchView<T, kPacked> view, Out* visible) {
  MAE_DYNAMIC_SHARED(float4, shared);
  float* table = reinterpret_cast<float*>(shared);
  fill_table(view, table);
  const int64_t sample = blockIdx.x;
  for_kept_rows(args, ranks_here, [&](int32_t row, int32_t patch) {
    const T* first = view.first_pixel(sample, patch);
    Out* out = visible + (sample * args.keep + row) * view.patch_elements;
#pragma unroll 2
    for (int32_t e = lane_number() * V; e < view.patch_elements; e += kWarp * V) {
      float values[V];
      load_pixels<V>(view, table, first, e, values);
      store_floats<Out, V>(out + e, values);
    }
  });
}

template <class Vec>
__global__ void __launch_bounds__(kThreads, 4)
    mask_tokens_backward_kernel(const Vec* grad_visible, const int64_t* ids_restore, int32_t length, int32_t keep,
                                int32_t row_count, Vec* grad_x) {
  const int64_t sample = blockIdx.x;
  const Share share = share_of(length, static_cast<int32_t>(gridDim.y), static_cast<int32_t>(blockIdx.y));
  for (int32_t patch = share.begin + warp_number(); patch < share.end; patch += kWarps) {
    const int64_t rank = __ldg(ids_restore + sample * length + patch);
    Vec* to = grad_x + (sample * length + patch) * row_count;
    if (rank >= 0 && rank < keep) {
      copy_row(grad_visible + (sample * keep + rank) * row_count, to, row_count);
    } else {
      for (int32_t v = lane_number(); v < row_count; v += kWarp) to[v] = Vec{};
    }
  }
}

// Run launch_gather(grid, ranks_here), after a launch for the ranks where that is cheaper.
template <class LaunchGather>
cudaError_t launch_with_ranks(const MaskingArgs& args, cudaStream_t stream, LaunchGather launch_gather) {
  if (!is_usable(args)) return cudaErrorInvalidValue;
  if (args.samples == 0) return cudaSuccess;
  const int32_t blocks = blocks_per_sample(args.samples, args.keep);
  const bool inside = ranks_inside(args.length, blocks);
  if (!inside) {
    const cudaError_t error = launch_ranks(args, stream);
    if (error != cudaSuccess) return error;
  }
  return launch_gather(dim3(static_cast<unsigned>(args.samples), static_cast<unsigned>(blocks)), inside);
}

// Call run(Vec{}) with the widest access that divides every given byte count or address.
template <class Run>
cudaError_t with_access(uint64_t bytes_or_addresses, Run run) {
  if (bytes_or_addresses % 16 == 0) return run(uint4{});
  if (bytes_or_addresses % 4 == 0) return run(static_cast<unsigned int>(0));
  if (bytes_or_addresses % 2 == 0) return run(static_cast<unsigned short>(0));
  return cudaErrorInvalidValue;
}

}  // namespace mae
