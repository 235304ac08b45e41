"""One small slice in every transfer syntax that holds a CT, without the encoders of all of them.

The code streams were made once by the libraries behind imagecodecs (libjpeg-turbo, CharLS, OpenJPEG, OpenJPH).
"""

import base64

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

#: What the code streams hold, in HU, `(8, 6, 1)`.
RAMP = (np.arange(48, dtype=np.int16).reshape(6, 8).T * 20 - 1024)[..., None]

CODE_STREAMS = {
    # JPEG Extended, 12 bits: lossy, but not so on a ramp
    "1.2.840.10008.1.2.4.51": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAQECAQEBAgICAgICAgIC"
        "AQICAgICAgICAgL/wQALDAAGAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAADv/EAB4QAAAEBwAAAAAAAAAAAAAAAAAGCAkMJSZERmJm"
        "/9oACAEBAAA/ACOe0lDibA1MztL9ngJk04Mf/9k="
    ),
    # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.70": (
        "/9j/xAAXAAEBAQEAAAAAAAAAAAAAAAAHBQgM/8MACwwABgAIAQARAP/aAAgBAAAGAADn/wCpUqVKlSpqBQUFBQUFBQ1AoKCgoKCgoagU"
        "FBQUFBQUNQKCgoKCgoKGoFBQUFBQUFD/2Q=="
    ),
    # JPEG-LS
    "1.2.840.10008.1.2.4.80": (
        "/9j/6AAgU1BJRkYAAgAAAQAAAAYAAAAIChAGAQAAASwAAAEs/+gACAAAAAH/2P/3AAsQAAYACAEBEQD/+AANAf//ABIAQwEUAED/2gAI"
        "AQEAAAAAoTwnhLEcJ4SxHUCFEJokiKQR6FFQI5GoxLSklCan0hHR0ZGRkSZ5FSpUqRIiLOpEiRGjRpAA/9k="
    ),
    # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.90": (
        "/0//UQApAAAAAAAIAAAABgAAAAAAAAAAAAAACAAAAAYAAAAAAAAAAAABDwEB/1IADAAAAAEAAAQEAAH/XAAEQID/ZAAlAAFDcmVhdGVk"
        "IGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABSAAH/k9/4kgASKBpNIm1YA/9YRS3iqzdImDnwpGkHyrkwzPaRiQiGR3SG"
        "G2VeMNSNfXhnvMA3Dgsm7WK4TpBrVssNhsFA0AZv/9k="
    ),
    # High-Throughput JPEG 2000, lossless
    "1.2.840.10008.1.2.4.201": (
        "/0//UQApQAAAAAAIAAAABgAAAAAAAAAAAAAACAAAAAYAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQ"
        "kJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAFgAAf+TwAAmD/0FB3QAAADAABLAABMAtAEHdABO/QKH"
        "dADAABNAABMAGPYAgnQA5/kAAjQAwAAqIAAVYMaYoAIwAnYAPn369PnAMYG+tgD/2Q=="
    ),
}
DEFLATED = "1.2.840.10008.1.2.1.99"
TRANSFER_SYNTAXES = [
    UID(syntax)
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED, RLELossless, *CODE_STREAMS)
    if UID(syntax).is_transfer_syntax  # pydicom 2 cannot write the newest one
]


def encode(file, syntax):
    """Write a file of `RAMP` anew in a transfer syntax; one that is not known here gets what is not an image."""
    ds = pydicom.dcmread(file)
    if syntax == RLELossless:
        ds.compress(syntax)
    elif syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    elif syntax not in (ImplicitVRLittleEndian, DEFLATED):
        ds.PixelData = encapsulate([base64.b64decode(CODE_STREAMS.get(syntax, "AAAA"))])
        ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    FileDataset(
        file,
        {element.tag: element for element in ds},
        file_meta=ds.file_meta,
        preamble=bytes(128),
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
    ).save_as(file)
