// Element types, their conversion to and from float (round to nearest even), and aligned packs of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda_launch.cuh"
#include "host_device.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace mae {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// A float32 pixel as stored, to be normalised; a plain float is normalised already.
struct StoredFloat {
  float value;
};

template <class T>
constexpr bool kIsStored = false;
template <>
constexpr bool kIsStored<uint8_t> = true;
template <>
constexpr bool kIsStored<uint16_t> = true;
template <>
constexpr bool kIsStored<StoredFloat> = true;

// V elements that move in one access.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T at[V];
};

__device__ __forceinline__ float to_float(uint8_t value) { return static_cast<float>(value); }
__device__ __forceinline__ float to_float(uint16_t value) { return static_cast<float>(value); }
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(StoredFloat pixel) { return pixel.value; }
__device__ __forceinline__ float to_float(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

__device__ __forceinline__ void from_float(float value, float* out) { *out = value; }

#ifdef __CUDACC__
__device__ __forceinline__ float to_float(Half value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ __forceinline__ void from_float(float value, Half* out) {
  out->bits = __half_as_ushort(__float2half_rn(value));
}
__device__ __forceinline__ void from_float(float value, BFloat16* out) {
  out->bits = static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(value)).x;  // compiles before sm_80, too
}
#else
inline float to_float(Half value) { return half_bits_to_float(value.bits); }
inline void from_float(float value, Half* out) { out->bits = float_to_half_bits(value); }
inline void from_float(float value, BFloat16* out) { out->bits = float_to_bfloat16_bits(value); }
#endif

template <int kBytes>
struct Access;
template <>
struct Access<1> { using Type = unsigned char; };
template <>
struct Access<2> { using Type = unsigned short; };
template <>
struct Access<4> { using Type = unsigned int; };
template <>
struct Access<8> { using Type = uint2; };
template <>
struct Access<16> { using Type = uint4; };

// Read, in one access, what no thread of the kernel writes.
template <class T, int V>
__device__ __forceinline__ Pack<T, V> load_pack(const T* from) {
  using Type = typename Access<sizeof(T) * V>::Type;
  const Type raw = __ldg(reinterpret_cast<const Type*>(from));
  Pack<T, V> pack;
  memcpy(&pack, &raw, sizeof(pack));
  return pack;
}

template <class T, int V>
__device__ __forceinline__ void store_floats(T* to, const float (&values)[V]) {
  Pack<T, V> pack;
#pragma unroll
  for (int j = 0; j < V; ++j) from_float(values[j], &pack.at[j]);
  *reinterpret_cast<Pack<T, V>*>(to) = pack;
}

}  // namespace mae
