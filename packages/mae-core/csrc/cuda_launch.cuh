// What kernels and launch functions need of CUDA; without nvcc, a sequential stand-in for tests on the host.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "cuda_on_host.h"
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace mae {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMaxGridX = 2147483647;
constexpr int64_t kMaxGridY = 65535;

#ifdef __CUDACC__
#define MAE_DYNAMIC_SHARED(type, name) extern __shared__ type name[]

template <class... Params, class... Args>
cudaError_t launch(void (*kernel)(Params...), dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream,
                   Args... args) {
  kernel<<<grid, threads, shared_bytes, stream>>>(args...);
  return cudaGetLastError();
}
#endif

inline int multiprocessors() {
  int device = 0, count = 1;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    return 1;
  }
  return count;
}

// How many blocks share one sample's rows: enough to fill the device, but a row for every warp.
inline int32_t blocks_per_sample(int64_t samples, int32_t rows) {
  const int64_t filling = 8 * static_cast<int64_t>(multiprocessors());
  const int64_t most = std::min<int64_t>(kMaxGridY, std::max<int64_t>(1, (rows + kWarps - 1) / kWarps));
  return static_cast<int32_t>(std::min(most, (filling + samples - 1) / samples));
}

inline bool is_aligned(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

__device__ __forceinline__ int32_t warp_number() { return static_cast<int32_t>(threadIdx.x) / kWarp; }
__device__ __forceinline__ int32_t lane_number() { return static_cast<int32_t>(threadIdx.x) % kWarp; }

// The sum over a warp's 32 lanes, the same on each.
__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
  return value;
}

}  // namespace mae
