// The CPU kernels: the functions of launchers.h on host pointers, with the same structs.
//
// Every function returns 0, or 1 where the arguments do not fit; nothing is written then. Image pixels are uint8,
// uint16 or float32 where arithmetic is asked for; kept patches of other types are copied.
#pragma once

#include "launchers.h"

namespace mae {
namespace cpu {

int mask(const MaskingArgs& masking);

int mask_tokens(const MaskingArgs& masking, const void* x, int32_t dim, int32_t element_size, void* visible);

int mask_tokens_backward(const void* grad_visible, const int64_t* ids_restore, int64_t samples, int32_t length,
                         int32_t keep, int32_t dim, int32_t element_size, void* grad_x);

// visible is float32 for pixels as stored, else of the pixels' type.
int mask_image(const MaskingArgs& masking, const ImageArgs& image, void* visible);

// partial [N, R], one per patch, loss [1]; pred is float32.
int pixel_loss(const ImageArgs& image, const LossArgs& args, float* partial, float* loss);

int pixel_loss_backward(const ImageArgs& image, const LossArgs& args, float grad_loss, float* grad_pred);

}  // namespace cpu
}  // namespace mae
