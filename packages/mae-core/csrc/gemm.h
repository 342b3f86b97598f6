// Matrix products through the library that Paddle brings.
#pragma once

#include <cstdint>

#include "bfloat16.h"

namespace mae {

enum class Side { kPlain, kTransposed };

// Name of the library found in this process, or null where there is none.
const char* gemm_library();

// c[m, n] = a[m, k] b[k, n] + beta c, row-major; a transposed operand lies in memory as [k, m] or [n, k].
// Called inside a parallel loop it runs on the calling thread alone.
void gemm(Side side_a, Side side_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc);

// The same with operands of bfloat16; sums and result are float32. Only where `gemm_takes_bfloat16`.
void gemm(Side side_a, Side side_b, int64_t m, int64_t n, int64_t k, const Bfloat16* a, int64_t lda, const Bfloat16* b,
          int64_t ldb, float beta, float* c, int64_t ldc);

// Whether the processor multiplies bfloat16 by itself and the library offers it.
bool gemm_takes_bfloat16();

}  // namespace mae
