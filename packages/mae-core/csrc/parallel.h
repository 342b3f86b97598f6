// Threads of the CPU kernels: those of the OpenMP runtime that Paddle brings, so that no second pool competes.
#pragma once

#include <cstdint>

namespace mae {

// Call work(i) for each i in [0, count), in shares of equal size.
template <class Work>
void parallel_for(int64_t count, Work work) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) work(i);
}

}  // namespace mae
