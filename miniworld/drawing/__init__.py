"""People, cats and places as pictures with exact masks: torch alone, batched, a function of numbers.

identity   Person (60 numbers), Cat (41 numbers): fields, words, distribution, to_vector
look       Look: where a head turns, expression, hat, glasses, clothes, colours
scene      Figure (who, look, where, how large), Scene, draw_scene
canvas     layers of paint over distance fields; windows of a canvas
sitter     numbers of several people as tensors, and what turning a head does; cat_sitter of cats
draw_*     head, eyes, mouth and beard, hair, body and clothes, hats and glasses, cats, the ten places
place      hours, sky, stars
render     scenes to pictures and masks; layers, boxes, light
pictures   the same as bytes
sheets     contact sheets, to look at it all
"""
