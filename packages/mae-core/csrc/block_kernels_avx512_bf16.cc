#include "block_kernels.h"
#ifdef MAE_HAS_AVX512_BF16

#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#pragma GCC target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,prefer-vector-width=512")
#define MAE_KERNELS kAvx512Bf16Kernels
#define MAE_HAS_PAIRS 1
#define MAE_TILE_ROWS 8
#define MAE_TILE_LANES 2
#include "block_kernels.inl"

#endif
