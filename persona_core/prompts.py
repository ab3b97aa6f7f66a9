"""The banks of prompts that a persona learns with. "{}" is where the persona stands."""

# For the diffusion loss: what a photo of the subject may be captioned, and nothing about its content.
PHOTO_PROMPTS = (
    "a photo of a {}",
    "a photo of the {}",
    "a photo of one {}",
    "a picture of a {}",
    "a portrait of a {}",
    "a snapshot of the {}",
    "a close-up photo of a {}",
    "a close-up photo of the {}",
    "a cropped photo of a {}",
    "a cropped photo of the {}",
    "a bright photo of a {}",
    "a bright photo of the {}",
    "a dark photo of the {}",
    "a clear photo of a {}",
    "a clear photo of the {}",
    "a good photo of a {}",
    "a good photo of the {}",
    "a nice photo of the {}",
    "a sharp photo of the {}",
    "a soft photo of the {}",
    "a depiction of the {}",
    "a rendition of the {}",
    "an image of a {}",
    "this is a photo of the {}",
    "a detailed photo of the {}",
)

# For K/V tokens: the word stands for who it is, not for what is seen.
FACE_PROMPTS = (
    "a photo of a face of {}",
    "a photo of the face of {}",
    "a close-up photo of a face of {}",
    "a close-up photo of the face of {}",
    "a portrait of the face of {}",
    "a picture of the face of {}",
    "a cropped photo of the face of {}",
)

# For Tandem Equilibrium: rich prompts that no picture goes with, full of words that could be drowned out.
RICH_PROMPTS = (
    "{} is reading a book",
    "{} wearing a Santa hat",
    "{} riding a bicycle through the city",
    "{} playing the guitar on a stage",
    "{} drinking coffee in a small cafe",
    "{} standing on a beach at sunset",
    "{} in a snowy forest",
    "{} wearing sunglasses and a red scarf",
    "{} cooking dinner in a kitchen",
    "{} holding a bunch of flowers",
    "{} in front of the Eiffel tower",
    "{} as an astronaut on the moon",
    "{} dressed as a medieval knight",
    "{} walking a dog in the rain",
    "{} working at a wooden desk with a laptop",
    "an oil painting of {}",
    "a pencil sketch of {}",
    "a watercolor painting of {} in a garden",
    "a marble statue of {}",
    "{} laughing with a cup of tea in hand",
)
