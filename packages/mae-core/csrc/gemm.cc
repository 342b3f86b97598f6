#include "gemm.h"

#include <dlfcn.h>

#include <initializer_list>

#include "signal_stack.h"

namespace mae {
namespace {

// C interfaces of the two libraries; Paddle's wheel ships no complete headers.
using MklGemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
using DnnlGemm = int (*)(char, char, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*, int64_t,
                         float, float*, int64_t);
using DnnlGemmBfloat16 = int (*)(char, char, int64_t, int64_t, int64_t, float, const Bfloat16*, int64_t,
                                 const Bfloat16*, int64_t, float, float*, int64_t);

struct Library {
  const char* name = nullptr;
  MklGemm mkl = nullptr;
  DnnlGemm dnnl = nullptr;
  DnnlGemmBfloat16 bfloat16 = nullptr;
};

// Only what is in the process already: loading a second copy would start a second pool of threads.
void* symbol(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_NOLOAD | RTLD_LAZY);
  return handle ? dlsym(handle, name) : nullptr;
}

// AMX brings the AVX-512 instructions too. Elsewhere oneDNN converts on the way and is slower than with float32.
bool multiplies_bfloat16() {
#ifdef __x86_64__
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

Library find_library() {
  Library found;
  found.mkl = reinterpret_cast<MklGemm>(symbol("libmklml_intel.so", "cblas_sgemm"));
  for (const char* file : {"libdnnl.so.3", "libdnnl.so.2"}) {
    if (found.dnnl) break;
    found.dnnl = reinterpret_cast<DnnlGemm>(symbol(file, "dnnl_sgemm"));
    if (multiplies_bfloat16()) {
      found.bfloat16 = reinterpret_cast<DnnlGemmBfloat16>(symbol(file, "dnnl_gemm_bf16bf16f32"));
    }
  }
  // oneDNN comes with Paddle, MKL with Paddle's first own product: with both, the digits of a run must not depend on what
  // was computed before it. oneDNN is as fast as MKL on Intel, up to a tenth faster on AMD, and needs no MKL_DEBUG_CPU_TYPE.
  if (found.dnnl) found.mkl = nullptr;
  found.name = found.mkl ? "MKL" : found.dnnl ? "oneDNN" : nullptr;
  return found;
}

const Library& library() {
  static const Library found = find_library();
  return found;
}

// Let signals leave this thread's products alone, and those of the threads that work for it.
bool guard_from_signals() {
#pragma omp parallel
  own_signal_stack();
  return true;
}

void guard() {
  static thread_local const bool is_guarded = guard_from_signals();
  (void)is_guarded;
}

char letter(Side side) { return side == Side::kTransposed ? 'T' : 'N'; }

}  // namespace

bool gemm_takes_bfloat16() { return library().bfloat16; }

void gemm(Side side_a, Side side_b, int64_t m, int64_t n, int64_t k, const Bfloat16* a, int64_t lda, const Bfloat16* b,
          int64_t ldb, float beta, float* c, int64_t ldc) {
  guard();
  library().bfloat16(letter(side_a), letter(side_b), m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}

const char* gemm_library() { return library().name; }

void gemm(Side side_a, Side side_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float beta, float* c, int64_t ldc) {
  guard();
  const bool ta = side_a == Side::kTransposed, tb = side_b == Side::kTransposed;
  if (library().mkl) {
    constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;
    library().mkl(kRowMajor, ta ? kTrans : kNoTrans, tb ? kTrans : kNoTrans, static_cast<int>(m), static_cast<int>(n),
                  static_cast<int>(k), 1.0f, a, static_cast<int>(lda), b, static_cast<int>(ldb), beta, c,
                  static_cast<int>(ldc));
  } else {
    library().dnnl(letter(side_a), letter(side_b), m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
  }
}

}  // namespace mae
