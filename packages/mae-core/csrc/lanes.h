// Sixteen floats at a time, on any instruction set: GCC splits them where registers are narrower.
//
// Included once an instruction set, behind its pragma (see block_kernels.h): all is local to that file, since a
// function shared between them would be compiled for one and called by all.
#pragma once

namespace mae {
namespace {

constexpr int kLanes = 16;

typedef float Lanes __attribute__((vector_size(64)));
typedef int32_t IntLanes __attribute__((vector_size(64)));
typedef uint32_t BitLanes __attribute__((vector_size(64)));
typedef uint16_t HalfLanes __attribute__((vector_size(32)));

#define MAE_INLINE inline __attribute__((always_inline))
#define MAE_INLINE_LAMBDA __attribute__((always_inline))

// memcpy: the address needs no alignment, and one load comes out of it.
MAE_INLINE void load(const float* from, Lanes& x) { std::memcpy(&x, from, sizeof x); }
MAE_INLINE void store(float* to, const Lanes& x) { std::memcpy(to, &x, sizeof x); }

// The first `count` of sixteen; the others are `rest`, or not written.
MAE_INLINE void load(const float* from, int64_t count, Lanes& x, float rest = 0.0f) {
  if (count >= kLanes) return load(from, x);
  x = Lanes{} + rest;
  std::memcpy(&x, from, sizeof(float) * count);
}
MAE_INLINE void store(float* to, int64_t count, const Lanes& x) {
  if (count >= kLanes) return store(to, x);
  std::memcpy(to, &x, sizeof(float) * count);
}

// The bits of the nearest bfloat16, of the even one of two as near, in the lower halves.
MAE_INLINE void round_bits(const Lanes& x, BitLanes& bits) {
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  bits = x == x ? bits : BitLanes{} + 0x7fffu;  // NaN stays NaN
}
// The nearest bfloat16; the processor's own instruction takes what is below 2^-126 for 0.
MAE_INLINE void narrow(const Lanes& x, HalfLanes& halves) {
#ifdef MAE_HAS_PAIRS
  const __m256bh native = _mm512_cvtneps_pbh((__m512)x);
  std::memcpy(&halves, &native, sizeof halves);
#else
  BitLanes bits;
  round_bits(x, bits);
  halves = __builtin_convertvector(bits, HalfLanes);
#endif
}
// GCC's own conversion goes by way of narrower registers.
MAE_INLINE void words_of(const HalfLanes& halves, BitLanes& words) {
#ifdef MAE_HAS_PAIRS
  words = (BitLanes)_mm512_cvtepu16_epi32((__m256i)halves);
#else
  words = __builtin_convertvector(halves, BitLanes);
#endif
}
MAE_INLINE void widen(const HalfLanes& halves, Lanes& x) {
  BitLanes bits;
  words_of(halves, bits);
  bits <<= 16;
  std::memcpy(&x, &bits, sizeof x);
}
MAE_INLINE void store(Bfloat16* to, int64_t count, const HalfLanes& halves) {
  if (count >= kLanes) std::memcpy(to, &halves, sizeof halves);
  else std::memcpy(to, &halves, sizeof(Bfloat16) * count);
}
MAE_INLINE void store(Bfloat16* to, int64_t count, const Lanes& x) {
  HalfLanes halves;
  narrow(x, halves);
  store(to, count, halves);
}
MAE_INLINE void load(const Bfloat16* from, int64_t count, Lanes& x) {
  HalfLanes halves{};
  if (count >= kLanes) std::memcpy(&halves, from, sizeof halves);
  else std::memcpy(&halves, from, sizeof(Bfloat16) * count);
  widen(halves, x);
}

// Two rows of bfloat16, the elements of a column in a word, the first in its lower half.
MAE_INLINE void store_pairs(const HalfLanes& first, const HalfLanes& second, int32_t* to) {
  BitLanes low, high;
  words_of(first, low), words_of(second, high);
  low |= high << 16;
  std::memcpy(to, &low, sizeof low);
}

// The first `count` of sixteen lanes as they are, and `rest` in the others.
MAE_INLINE void fill_behind(int64_t count, float rest, Lanes& x) {
  const IntLanes index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  x = index < static_cast<int32_t>(count) ? x : Lanes{} + rest;
}

// Halves against each other, four times, in the same order on every instruction set.
template <class Merge>
MAE_INLINE float reduce(Lanes x, Merge merge) {
  merge(x, __builtin_shuffle(x, IntLanes{8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7}));
  merge(x, __builtin_shuffle(x, IntLanes{4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11}));
  merge(x, __builtin_shuffle(x, IntLanes{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13}));
  merge(x, __builtin_shuffle(x, IntLanes{1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));
  return x[0];
}
MAE_INLINE float sum(const Lanes& x) {
  return reduce(x, [](Lanes& a, const Lanes& b) MAE_INLINE_LAMBDA { a += b; });
}
MAE_INLINE float highest(const Lanes& x) {
  return reduce(x, [](Lanes& a, const Lanes& b) MAE_INLINE_LAMBDA { a = a > b ? a : b; });
}

// Call work(start, count) for each sixteen elements of a row; count is below sixteen in the last one only.
template <class Work>
MAE_INLINE void each_lanes(int64_t count, Work work) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) work(i, static_cast<int64_t>(kLanes));
  if (i < count) work(i, count - i);
}

// e^x within 2 ulp for x in [-87, 88]; 0 below, and the value at 88 above.
MAE_INLINE void exponential(const Lanes& power, Lanes& result) {
  const Lanes limit = Lanes{} + 88.0f;
  const Lanes x = power > limit ? limit : power;
  const Lanes shifter = Lanes{} + 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer
  const Lanes shifted = x * 1.44269504f + shifter;
  const Lanes n = shifted - shifter;
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // x - n ln 2, in two steps
  Lanes p = r * 1.9875691e-4f + 1.3981999e-3f;
  p = p * r + 8.3334519e-3f;
  p = p * r + 4.1665796e-2f;
  p = p * r + 1.6666665e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const IntLanes exponent = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &exponent, sizeof scale);
  result = x < Lanes{} - 87.0f ? Lanes{} : p * scale;
}

// 2^x within 2^-18, for what becomes bfloat16.
MAE_INLINE void rough_power(const Lanes& x, Lanes& result) {
#ifdef MAE_HAS_PAIRS
  const Lanes n = (Lanes)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = x - n;
  Lanes p = r * 9.5828529e-3f + 5.5906426e-2f;
  p = p * r + 2.4024099e-1f;
  p = p * r + 6.9312419e-1f;
  p = p * r + 1.0f;
  result = (Lanes)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  exponential(x * 0.69314718f, result);
#endif
}

// a / b; for what becomes bfloat16 by an approximation within 2^-22.
template <class Out>
MAE_INLINE void divide(const Lanes& a, const Lanes& b, Lanes& result) {
#ifdef MAE_HAS_PAIRS
  if constexpr (std::is_same_v<Out, Bfloat16>) {
    const Lanes inverse = (Lanes)_mm512_rcp14_ps((__m512)b);
    result = a * (inverse * (2.0f - b * inverse));
    return;
  }
#endif
  result = a / b;
}

// erf(x) within 4e-7: x P(x^2) / Q(x^2), fitted for |x| <= 3.92, beyond which it rounds to 1.
template <class Out>
MAE_INLINE void error_function(const Lanes& x, Lanes& result) {
  const Lanes limit = Lanes{} + 3.9192059f;
  Lanes c = x > limit ? limit : x;
  c = c < -limit ? -limit : c;
  const Lanes t = c * c;
  Lanes p = t * 2.0508859961e-06f + 2.8488223325e-04f;
  p = p * t + 3.7639999898e-03f;
  p = p * t + 5.2743855864e-02f;
  p = p * t + 1.9036395848e-01f;
  p = p * t + 1.1283791065f;
  Lanes q = t * 3.8099959056e-05f + 1.1622102465e-03f;
  q = q * t + 1.4965949580e-02f;
  q = q * t + 1.1409222335e-01f;
  q = q * t + 5.0203841925e-01f;
  q = q * t + 1.0f;
  divide<Out>(c * p, q, result);
  if constexpr (std::is_same_v<Out, Bfloat16>) return;  // 1 within 4e-7 will do
  result = x > limit ? Lanes{} + 1.0f : x < -limit ? Lanes{} - 1.0f : result;
}

}  // namespace
}  // namespace mae
