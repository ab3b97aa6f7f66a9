"""Pictures that say where they come from: Save Generated Picture, Verify Picture."""

from functools import partial

from comfy_api.latest import io, ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

from ..persona_core import content_credentials, provenance
from ..persona_core import watermark as in_pixels
from ..persona_core.host import pictures
from ..persona_core.provenance_report import describe
from . import notices, picture_info, sockets


class SaveGeneratedPicture(io.ComfyNode):
    """IMAGE [B, H, W, C] to PNG files that say that they are generated."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaSavePicture",
            display_name="Save Generated Picture",
            **sockets.also_found_as(
                "save image, provenance, content credentials, C2PA, IPTC, AI label, watermark, signature"
            ),
            category=sockets.CATEGORY,
            description="Saves pictures as Save Image does, marked as generated where photo tools and networks look for it, and signed where ComfyUI's owner has set that up.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to save."),
                io.String.Input(
                    "filename_prefix",
                    default="ComfyUI",
                    tooltip="How the files' names begin, in ComfyUI's output folder. people/ann puts them into a folder; %date:yyyy-MM-dd% and %Empty Latent Image.width% are replaced.",
                ),
                io.Boolean.Input(
                    "name_personas",
                    default=False,
                    tooltip="Write the personas' names into the signed record, which otherwise says only whether a likeness was used. The workflow in the picture has them anyway.",
                ),
                io.Boolean.Input(
                    "watermark",
                    default=False,
                    optional=True,
                    tooltip="Also write into the pixels that the picture is generated: found again after JPEG and at other sizes, not in a cut-out. It changes the picture a little, which smooth places may show. Needs blind-watermark.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None, watermark: bool | None = False) -> bool | str:
        try:
            if filename_prefix is not None:  # it comes over a link
                pictures.check_prefix(filename_prefix)
            if watermark:
                in_pixels.needed()
            content_credentials.check_set_up()
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, images: Tensor, filename_prefix: str, name_personas: bool, watermark: bool = False
    ) -> io.NodeOutput:
        prompt = cls.hidden.prompt or {}
        used = picture_info.personas_of(picture_info.before(prompt, get_executing_context().node_id))
        names = [one["persona"] for one in used if one["persona"]] if name_personas else []
        signed = content_credentials.set_up()
        sign = partial(content_credentials.sign, likeness=bool(used), personas=names) if signed else None
        saved = pictures.save(images, filename_prefix, prompt, cls.hidden.extra_pnginfo, sign, watermark)
        done = "and signed" if signed else "not signed: no certificate is set up"
        shown = ui.SavedImages([ui.SavedResult(*one, io.FolderType.output) for one in saved]).as_dict()
        return io.NodeOutput(
            ui={**shown, **notices.line(f"Marked as generated{', also in its pixels' * watermark}, {done}.")}
        )


class VerifyPicture(io.ComfyNode):
    """A picture's file to what it says of where it comes from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaVerifyPicture",
            display_name="Verify Picture",
            **sockets.also_found_as(
                "provenance, content credentials, C2PA, IPTC, metadata, is it AI, deepfake, signature, watermark"
            ),
            category=sockets.CATEGORY,
            description="Tells what a picture's file says of where it comes from: whether it is marked as generated, by whom it is signed and whether that holds, which personas it names, and whether it has a watermark.",
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "file",
                    options=pictures.uploaded(),
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="A PNG, JPEG or WebP in ComfyUI's input folder. Its file is read as it is.",
                )
            ],
            outputs=[io.String.Output(display_name="text", tooltip="What the file says, a line a fact.")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        try:
            return file is None or bool(pictures.path_of(file))  # None: it comes over a link
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        stat = pictures.path_of(file).stat()
        return f"{stat.st_mtime_ns} {stat.st_size}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        content = pictures.content_of(pictures.path_of(file))
        told = provenance.read(content)
        signed = content_credentials.check(content, Image.MIME[told.format])
        text = describe(told, signed, picture_info.told_in(told.texts), in_pixels.look(content))
        return io.NodeOutput(text, ui={**ui.PreviewText(text).as_dict(), **notices.line(text)})


NODES = [SaveGeneratedPicture, VerifyPicture]
