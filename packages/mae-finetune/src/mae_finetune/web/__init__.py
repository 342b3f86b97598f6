"""`mae-finetune serve`: one page in a browser that shows what a fine-tuned model says of an image."""
