#include "block_kernels.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#define MAE_KERNELS kBaseKernels
#define MAE_TILE_ROWS 2
#define MAE_TILE_LANES 1
#include "block_kernels.inl"

namespace mae {
namespace {

// MAE_CORE_CPU_LEVEL=base, avx2 or avx512 takes narrower kernels than the processor allows, for tests.
const BlockKernels& choose_kernels() {
#ifdef MAE_HAS_X86_LEVELS
  const char* wish = std::getenv("MAE_CORE_CPU_LEVEL");
  const bool base = wish && !std::strcmp(wish, "base"), avx2 = wish && !std::strcmp(wish, "avx2");
  __builtin_cpu_init();
  if (base || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return kBaseKernels;
  if (avx2 || !__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq")) return kAvx2Kernels;
#ifdef MAE_HAS_AVX512_BF16
  const bool avx512 = wish && !std::strcmp(wish, "avx512");
  if (!avx512 && __builtin_cpu_supports("avx512bf16")) return kAvx512Bf16Kernels;
#endif
  return kAvx512Kernels;
#else
  return kBaseKernels;
#endif
}

}  // namespace

const BlockKernels& block_kernels() {
  static const BlockKernels& chosen = choose_kernels();
  return chosen;
}

}  // namespace mae
