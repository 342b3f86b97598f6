// What Python asks the library before it registers an operator.
#include "gemm.h"

#define MAE_VISIBLE extern "C" __attribute__((visibility("default")))

// Counts the sets of operators: raise it, and LIBRARY_VERSION in mae_core/ops/fused.py, with their names, inputs,
// outputs or attributes. An older library beside newer Python is then refused, not called.
MAE_VISIBLE int mae_library_version() { return 3; }

// Which library computes the products; null where none is there and the block cannot run.
MAE_VISIBLE const char* mae_gemm_library() { return mae::gemm_library(); }

// Whether products of bfloat16 run here, and are worth it.
MAE_VISIBLE int mae_bfloat16_products() { return mae::gemm_takes_bfloat16(); }
