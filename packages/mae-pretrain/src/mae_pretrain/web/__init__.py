"""`mae-pretrain serve`: one page in a browser that shows what a model makes of an image.

Reading order: `served_model` (image bytes to answers), `queue` (one computation at a time), `application` (requests and
their checks); `mae_core.report.http_server` serves it, and `page/` is what the browser gets.
"""
