#include "block_kernels.h"
#ifdef MAE_HAS_X86_LEVELS

#include <cmath>
#include <cstring>
#include <type_traits>

#pragma GCC target("avx2,fma")
#define MAE_KERNELS kAvx2Kernels
#define MAE_TILE_ROWS 6
#define MAE_TILE_LANES 1
#include "block_kernels.inl"

#endif
