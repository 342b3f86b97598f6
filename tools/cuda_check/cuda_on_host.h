// A sequential stand-in for CUDA, so that a C++ compiler can run the kernels without a GPU.
//
// Each thread of a block is a coroutine that runs until it waits at a barrier. Blocks run one after the other.
// A barrier that some thread never reaches ends the program with a message. MAE_HOST_REVERSED=1 runs the
// threads in the opposite order: a result that depends on the order lacks a barrier.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };

inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 4, cudaSuccess; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

using std::min;

template <class T>
T __ldg(const T* from) {
  if (reinterpret_cast<uintptr_t>(from) % sizeof(T) != 0) {
    std::fprintf(stderr, "cuda_on_host: %zu bytes read at %p, which is not aligned\n", sizeof(T), (const void*)from);
    std::abort();
  }
  return *from;
}

namespace cuda_on_host {

constexpr int kStackBytes = 64 * 1024;
constexpr int kMostThreads = 1024;

struct Barrier {
  int waiting = 0;
  int64_t passed = 0;
};

struct Block {
  ucontext_t scheduler;
  std::vector<ucontext_t> contexts{kMostThreads};
  std::vector<char> stacks = std::vector<char>(static_cast<size_t>(kMostThreads) * kStackBytes);
  std::vector<char> is_done = std::vector<char>(kMostThreads);
  std::vector<float> exchanged = std::vector<float>(kMostThreads);
  std::vector<Barrier> warp_barriers{kMostThreads / 32};
  Barrier barrier;
  std::vector<char> shared;
  std::function<void()> body;
  bool progressed = false;
};

inline Block block;

inline void wait(Barrier& barrier, int expected) {
  const int64_t entered = barrier.passed;
  if (++barrier.waiting == expected) {
    barrier.waiting = 0;
    ++barrier.passed;
    block.progressed = true;
    return;
  }
  while (barrier.passed == entered) swapcontext(&block.contexts[threadIdx.x], &block.scheduler);
  block.progressed = true;
}

inline void run_thread() {
  block.body();
  block.is_done[threadIdx.x] = 1;
  block.progressed = true;
}

inline void make_thread(int thread) {
  ucontext_t& context = block.contexts[thread];
  getcontext(&context);
  context.uc_stack.ss_sp = block.stacks.data() + static_cast<size_t>(thread) * kStackBytes;
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = &block.scheduler;
  makecontext(&context, run_thread, 0);
  block.is_done[thread] = 0;
}

inline void run_block(int threads) {
  const bool is_reversed = std::getenv("MAE_HOST_REVERSED") != nullptr;
  std::fill(block.shared.begin(), block.shared.end(), static_cast<char>(0xA5));
  for (int i = 0; i < threads; ++i) make_thread(i);
  for (int left = threads; left > 0;) {
    block.progressed = false;
    left = 0;
    for (int i = 0; i < threads; ++i) {
      const int thread = is_reversed ? threads - 1 - i : i;
      if (block.is_done[thread]) continue;
      threadIdx.x = static_cast<unsigned>(thread);
      swapcontext(&block.scheduler, &block.contexts[thread]);
      left += !block.is_done[thread];
    }
    if (left > 0 && !block.progressed) {
      std::fprintf(stderr, "cuda_on_host: %d threads wait at a barrier that the others never reach\n", left);
      std::abort();
    }
  }
}

}  // namespace cuda_on_host

inline void __syncthreads() { cuda_on_host::wait(cuda_on_host::block.barrier, static_cast<int>(blockDim.x)); }

inline float __shfl_xor_sync(unsigned, float value, int offset) {
  auto& block = cuda_on_host::block;
  auto& barrier = block.warp_barriers[threadIdx.x / 32];
  block.exchanged[threadIdx.x] = value;
  cuda_on_host::wait(barrier, 32);
  const float result = block.exchanged[threadIdx.x ^ static_cast<unsigned>(offset)];
  cuda_on_host::wait(barrier, 32);
  return result;
}

namespace mae {

#define MAE_DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(cuda_on_host::block.shared.data())

template <class... Params, class... Args>
cudaError_t launch(void (*kernel)(Params...), dim3 grid, int threads, size_t shared_bytes, cudaStream_t, Args... args) {
  if (threads < 1 || threads > cuda_on_host::kMostThreads || shared_bytes > 48 * 1024) return cudaErrorInvalidValue;
  cuda_on_host::block.shared.resize(shared_bytes);
  cuda_on_host::block.body = [&] { kernel(args...); };
  gridDim = grid;
  blockDim = dim3(static_cast<unsigned>(threads));
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      blockIdx = dim3(x, y);
      blockIdx.z = 0;
      cuda_on_host::run_block(threads);
    }
  }
  return cudaSuccess;
}

inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float half_bits_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  if (exponent == 31) return float_from_bits(sign | 0x7F800000u | static_cast<uint32_t>(fraction) << 13);
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                        : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return sign != 0 ? -magnitude : magnitude;
}

inline uint16_t float_to_half_bits(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
  if (std::isnan(value)) return 0x7FFFu;
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7C00u;  // rounds to infinity
  const int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : -14, -14);
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));  // up to 2048
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + steps));
}

inline uint16_t float_to_bfloat16_bits(float value) {
  if (std::isnan(value)) return 0x7FFFu;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace mae
