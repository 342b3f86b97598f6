"""`-cfg auto` and `--budget`: a recipe, its size, batch, learning rate and length from the images and the machine.

Reading order: `images` (what they have in common), `rules` (what follows), `length` (how long), `auto` (the command),
`hint` (what a dry run says of a plan that suits neither images nor machine).
"""
