// Marks functions that both a C++ compiler and nvcc compile, so the CPU and CUDA kernels share them.
#pragma once

#ifdef __CUDACC__
#define MAE_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MAE_HOST_DEVICE inline
#endif
