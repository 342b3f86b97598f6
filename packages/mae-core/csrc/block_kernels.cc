#include "block_kernels.h"

#include <cmath>
#include <cstring>

#define MAE_KERNELS kBaseKernels
#define MAE_TILE_ROWS 2
#define MAE_TILE_LANES 1
#include "block_kernels.inl"

namespace mae {

const BlockKernels& block_kernels() {
#ifdef MAE_HAS_X86_LEVELS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return kAvx512Kernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2Kernels;
#endif
  return kBaseKernels;
}

}  // namespace mae
