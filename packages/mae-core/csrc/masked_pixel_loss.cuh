// Squared error of predicted patches against the image itself: the target is never written anywhere.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda_launch.cuh"
#include "launchers.h"
#include "numeric.cuh"
#include "pixels.cuh"

namespace mae {

constexpr int64_t kSharedBytes = 48 * 1024;  // every device offers this much to a block without asking
constexpr int kSumThreads = 1024;

// A removed patch as the decoder is to predict it, read by one warp; lane i reads packs i, i + 32, ...
template <class T, bool kPacked, int V>
struct Target {
  const PatchView<T, kPacked>& view;
  const float* table;
  const T* first;
  float* cache;  // [P] in shared memory, or null: pixels are read again; a lane sees its own elements only
  float mean;
  float inverse_deviation;

  __device__ __forceinline__ void read(int32_t e, float (&values)[V]) const {
    if (cache == nullptr) {
      load_pixels<V>(view, table, first, e, values);
      return;
    }
    const Pack<float, V> pack = *reinterpret_cast<const Pack<float, V>*>(cache + e);
#pragma unroll
    for (int j = 0; j < V; ++j) values[j] = pack.at[j];
  }

  // Two passes: the mean first, then the unbiased variance around it. The mean is counted from the first pixel on: of a
  // flat patch it is that pixel exactly, whose rounding would be divided by 1e-3.
  __device__ __forceinline__ void normalize() {
    const int32_t count = view.patch_elements;
    float values[V];
    load_pixels<V>(view, table, first, 0, values);
    const float origin = values[0];
    float sum = 0.0f;
    for (int32_t e = lane_number() * V; e < count; e += kWarp * V) {
      load_pixels<V>(view, table, first, e, values);
      if (cache != nullptr) store_floats<float, V>(cache + e, values);
#pragma unroll
      for (int j = 0; j < V; ++j) sum += values[j] - origin;
    }
    mean = origin + warp_sum(sum) / static_cast<float>(count);
    float squares = 0.0f;
    for (int32_t e = lane_number() * V; e < count; e += kWarp * V) {
      read(e, values);
#pragma unroll
      for (int j = 0; j < V; ++j) squares += (values[j] - mean) * (values[j] - mean);
    }
    const float variance = warp_sum(squares) / static_cast<float>(count - 1);
    inverse_deviation = 1.0f / sqrtf(variance + kNormPixEpsilon);
  }
};

// Shared memory of a block: the table of packed images, then a cache [P] per warp if patches fit.
struct SharedParts {
  float* table;
  float* cache;  // of this warp, or null
};

template <class T, bool kPacked>
__device__ __forceinline__ SharedParts shared_parts(float4* shared, const PatchView<T, kPacked>& view, bool has_cache) {
  float* table = reinterpret_cast<float*>(shared);
  float* caches = table + (kPacked ? table_floats(view.row_elements) : 0);
  return SharedParts{table, has_cache ? caches + warp_number() * view.patch_elements : nullptr};
}

// Call visit(e, errors) for each pack of pred - target of one removed patch; false if its id is no patch.
template <int V, class T, bool kPacked, class Visit, class Pred>
__device__ __forceinline__ bool for_errors(const LossArgs& args, const PatchView<T, kPacked>& view, const Pred* pred,
                                           int64_t row, const SharedParts& parts, Visit visit) {
  const int64_t id = __ldg(args.ids_remove + row);
  if (id < 0 || id >= view.patches) {
    if (lane_number() == 0) *args.error = 1;
    return false;
  }
  const T* first = view.first_pixel(row / args.removed, static_cast<int32_t>(id));
  Target<T, kPacked, V> target{view, parts.table, first, parts.cache, 0.0f, 1.0f};
  if (args.norm_pix) target.normalize();
  const Pred* row_pred = pred + row * view.patch_elements;
#pragma unroll 2
  for (int32_t e = lane_number() * V; e < view.patch_elements; e += kWarp * V) {
    float errors[V];
    target.read(e, errors);
    const Pack<Pred, V> pack = load_pack<Pred, V>(row_pred + e);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      errors[j] = to_float(pack.at[j]) - (errors[j] - target.mean) * target.inverse_deviation;
    }
    visit(e, errors);
  }
  return true;
}

// The patch of this warp, or -1 behind the last one.
__device__ __forceinline__ int64_t row_of_warp(const LossArgs& args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + warp_number();
  return row < args.samples * args.removed ? row : -1;
}

template <class T, bool kPacked, class Pred, int V>
__global__ void __launch_bounds__(kThreads, 4)
    pixel_loss_kernel(LossArgs args, PatchView<T, kPacked> view, bool has_cache, float* partial) {
  MAE_DYNAMIC_SHARED(float4, shared);
  const SharedParts parts = shared_parts(shared, view, has_cache);
  fill_table(view, parts.table);
  const int64_t row = row_of_warp(args);
  if (row < 0) return;
  float sum = 0.0f;
  const Pred* pred = static_cast<const Pred*>(args.pred);
  for_errors<V>(args, view, pred, row, parts, [&](int32_t, const float(&errors)[V]) {
#pragma unroll
    for (int j = 0; j < V; ++j) sum += errors[j] * errors[j];
  });
  sum = warp_sum(sum);
  if (lane_number() == 0) partial[row] = sum;
}

template <class T, bool kPacked, class Pred, int V>
__global__ void __launch_bounds__(kThreads, 4)
    pixel_loss_backward_kernel(LossArgs args, PatchView<T, kPacked> view, bool has_cache, const float* grad_loss,
                               Pred* grad_pred) {
  MAE_DYNAMIC_SHARED(float4, shared);
  const SharedParts parts = shared_parts(shared, view, has_cache);
  fill_table(view, parts.table);
  const int64_t row = row_of_warp(args);
  if (row < 0) return;
  const float factor = __ldg(grad_loss) * args.factor;
  Pred* out = grad_pred + row * view.patch_elements;
  const auto write = [&](int32_t e, const float(&errors)[V]) {
    float values[V];
#pragma unroll
    for (int j = 0; j < V; ++j) values[j] = factor * errors[j];
    store_floats<Pred, V>(out + e, values);
  };
  if (for_errors<V>(args, view, static_cast<const Pred*>(args.pred), row, parts, write)) return;
  const float zeros[V] = {};
  for (int32_t e = lane_number() * V; e < view.patch_elements; e += kWarp * V) {
    store_floats<Pred, V>(out + e, zeros);
  }
}

// Add the patches' sums in an order that depends on their number only; one block of kSumThreads.
static __global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const float* partial, int64_t count, float factor, float* total) {
  __shared__ float warp_sums[kWarp];
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads) sum += __ldg(partial + i);
  sum = warp_sum(sum);
  if (lane_number() == 0) warp_sums[warp_number()] = sum;
  __syncthreads();
  if (warp_number() != 0) return;
  sum = warp_sum(warp_sums[lane_number()]);
  if (lane_number() == 0) *total = factor * sum;
}

// Blocks, warps per block and shared memory, with one warp per removed patch.
struct LossPlan {
  dim3 grid;
  int threads;
  size_t shared_bytes;
  bool has_cache;
};

inline LossPlan make_loss_plan(const ImageArgs& image, const LossArgs& args, bool is_packed) {
  constexpr int64_t kFloat = sizeof(float);
  const int64_t patch_bytes = patch_elements(image) * kFloat;
  const int64_t table_bytes = is_packed ? table_floats(row_elements(image)) * kFloat : 0;
  const bool has_cache = args.norm_pix && table_bytes + patch_bytes <= kSharedBytes;
  int warps = kWarps;
  while (has_cache && table_bytes + warps * patch_bytes > kSharedBytes) warps /= 2;
  const int64_t blocks = (args.samples * args.removed + warps - 1) / warps;
  const int64_t shared_bytes = table_bytes + (has_cache ? warps * patch_bytes : 0);
  return LossPlan{dim3(static_cast<unsigned>(blocks)), warps * kWarp, static_cast<size_t>(shared_bytes), has_cache};
}

inline bool is_usable(const LossArgs& args) {
  return args.samples >= 0 && args.removed >= 0 && args.pred_dtype != kUInt8 && args.pred_dtype != kUInt16 &&
         (args.removed == 0 || args.samples <= kMaxGridX / args.removed);
}

}  // namespace mae
