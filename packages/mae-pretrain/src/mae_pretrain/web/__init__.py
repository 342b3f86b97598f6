"""`mae-pretrain serve`: one page in a browser that shows what a model makes of an image.

Reading order: `looks` (image bytes to figures), `queue` (one computation at a time), `application` (requests and their
checks), `server`; `page/` is what the browser gets.
"""
