#!/bin/sh
# PaddleViT's run_pretrain_vit_b.sh: the same command; further words are passed on, such as -output or KEY VALUE pairs.
exec python3 "$(dirname "$0")/main_multi_gpu_pretrain.py" -cfg="vit_base_patch16_224_pretrain" -dataset=imagenet2012 -batch_size=64 \
  -data_path="${DATA_PATH:-/dataset/imagenet}" -amp "$@"
