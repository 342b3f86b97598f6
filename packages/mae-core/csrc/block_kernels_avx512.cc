#include "block_kernels.h"
#ifdef MAE_HAS_X86_LEVELS

#include <cmath>
#include <cstring>
#include <type_traits>

#pragma GCC target("avx2,fma,avx512f,avx512dq,prefer-vector-width=512")
#define MAE_KERNELS kAvx512Kernels
#define MAE_TILE_ROWS 8
#define MAE_TILE_LANES 2
#include "block_kernels.inl"

#endif
