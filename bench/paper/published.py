"""The papers' own figures, as far as they could be read in a source. They are theirs: other base models, photos,
prompts, recognisers and CLIPs than ours."""

from bench.pages import markdown

RECTIFID = """### RectifID, NeurIPS 2024 (arXiv 2405.14677), table 1

The first 200 people of CelebA-HQ, 20 prompts each; identity by ArcFace, prompt by CLIP, seconds on an A800."""
RECTIFID_ROWS = (
    ("Textual Inversion", "SD2.1", "0.2115", "0.2498", "6331"),
    ("DreamBooth", "SD2.1", "0.2053", "0.3015", "623"),
    ("NeTI", "SD1.4", "0.3789", "0.2325", "1527"),
    ("Celeb Basis", "SD1.4", "0.2070", "0.2683", "140"),
    ("Cross Initialization", "SD2.1", "0.2517", "0.2859", "346"),
    ("IP-Adapter", "SD1.5", "0.4778", "0.2627", "2"),
    ("PhotoMaker", "SDXL", "0.2271", "0.3079", "4"),
    ("InstantID", "SDXL", "0.5806", "0.3071", "6"),
    ("RectifID, 20 iterations", "SD1.5", "0.4860", "0.2995", "9"),
    ("RectifID, 100 iterations", "SD1.5", "0.5930", "0.2933", "46"),
    ("RectifID, 20 iterations", "SD2.1", "0.5034", "0.3151", "20"),
)

SEFI = """### SeFi-IDE (Beyond Inserting, arXiv 2402.00631)

ID(Prompt) and the share of people who chose the method, read off a figure of the project's page (*Correlation of user
selection with ID(P) metric*), so the last digit is uncertain. The page names neither base model nor recogniser. Tables
1 and 2 of the paper could not be read in any source at hand, so none of their figures is here."""
SEFI_ROWS = (
    ("Textual Inversion", "0.176", "1.8 %"),
    ("Celeb Basis", "0.184", "4.3 %"),
    ("ProSpect", "0.193", "1.2 %"),
    ("AttnDreamBooth", "0.236", "12.3 %"),
    ("DreamBooth", "0.241", "7.7 %"),
    ("Custom Diffusion", "0.243", "4 %"),
    ("IP-Adapter", "0.248", "15.6 %"),
    ("DisEnvisioner", "0.248", "14 %"),
    ("SeFi-IDE", "0.258", "38.7 %"),
)

INTRODUCTION = """## The papers' own figures

Theirs, not ours, and measured on other base models, photos and prompts. **Figures of another recogniser or another CLIP
are not comparable**: only how rows of one table lie to each other is. No figure of PersonaMagic's own tables could be
read in a source, so there is none here."""


def tables() -> str:
    """As Markdown."""

    def table(*lines: tuple[str, ...]) -> str:
        return markdown([lines[0], ("---",) * len(lines[0]), *lines[1:]])

    sefi = table(("Method", "ID(Prompt)", "chosen by"), *SEFI_ROWS)
    rectifid = table(("Method", "Base model", "Identity", "Prompt", "Seconds"), *RECTIFID_ROWS)
    return "\n\n".join((INTRODUCTION, SEFI, sefi, RECTIFID, rectifid))
