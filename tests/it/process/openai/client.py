"""Runs the unchanged `openai` package against a server: client.py CASE URL KEY. Prints what it saw as one line of JSON."""

import base64
import json
import struct
import sys
import zlib

import openai

case, url, key = sys.argv[1:4]
client = openai.OpenAI(base_url=url + "/v1", api_key=key, timeout=60)


def png():
    """A grey picture of 320 by 320."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 320, 320, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x80" * 320 for _ in range(320))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def refused(call):
    """The class, code and param of what a call raises."""
    try:
        call()
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code, error.param]
    return None


def videos():
    first = client.videos.create_and_poll(model="kling-2.6", prompt="a paper boat", seconds="5", size="1280x720")
    second = client.videos.create_and_poll(
        model="kling-2.6", prompt="a boat as drawn", input_reference=("boat.png", png()), extra_body={"parameters": {"mode": "standard"}}
    )
    content = client.videos.download_content(first.id).content
    part = client.videos.download_content(first.id, extra_headers={"Range": "bytes=4-7"}).content
    listed = [video.id for video in client.videos.list(limit=1)]
    oldest = [video.id for video in client.videos.list(limit=1, order="asc")]
    deleted = client.videos.delete(first.id)
    return {
        "first": first.to_dict(),
        "second": second.to_dict(),
        "size": len(content),
        "brand": content[4:8].decode(),
        "part": part.decode(),
        "listed": listed,
        "oldest": oldest,
        "deleted": deleted.to_dict(),
        "left": [video.id for video in client.videos.list()],
        "gone": refused(lambda: client.videos.retrieve(first.id)),
        "gone_content": refused(lambda: client.videos.download_content(first.id)),
    }


def images():
    both = client.images.generate(model="flux-2-pro", prompt="two lamps", n=2, size="1024x1024")
    by_url = client.images.generate(model="flux-2-pro", prompt="a lamp", response_format="url")
    inline = client.images.generate(model="flux-schnell", prompt="a lamp", response_format="b64_json", size="16:9", output_format="png")
    return {
        "count": len(both.data),
        "starts": [base64.b64decode(image.b64_json)[:4].hex() for image in both.data],
        "urls": [image.url for image in both.data + by_url.data],
        "only_url": by_url.data[0].b64_json is None,
        "only_inline": inline.data[0].url is None and len(inline.data[0].b64_json) > 0,
    }


def models():
    return {"ids": [model.id for model in client.models.list()], "one": client.models.retrieve("kling-2.6").to_dict()}


def errors():
    stranger = openai.OpenAI(base_url=url + "/v1", api_key="sk-nothing", max_retries=0)
    make = client.videos.create
    return {
        "key": refused(lambda: stranger.models.list()),
        "model": refused(lambda: make(model="sora-2", prompt="x")),
        "kind": refused(lambda: make(model="flux-2-pro", prompt="x")),
        "seconds": refused(lambda: make(model="kling-2.6", prompt="x", seconds="4")),
        "size": refused(lambda: make(model="kling-2.6", prompt="x", size="1000x300")),
        "prompt": refused(lambda: client.images.generate(model="flux-2-pro", prompt=" ")),
        "file": refused(lambda: make(model="kling-2.6", prompt="x", input_reference=b"no picture")),
        "video": refused(lambda: client.videos.retrieve("video_1")),
        "path": refused(lambda: client.embeddings.create(model="x", input="x")),
        "method": refused(lambda: client.delete("/videos", cast_to=object)),
        "failed": refused(lambda: client.images.generate(model="flux-2-pro", prompt="a [[sim fail=moderated]]")),
    }


def video():
    """One video, whatever is dropped on the way."""
    headers = {"Idempotency-Key": sys.argv[4]} if len(sys.argv) > 4 else None
    made = client.videos.create(model="kling-2.6", prompt="a lighthouse", extra_headers=headers)
    return {"id": made.id}


def image():
    """One image, whatever is dropped on the way."""
    prompt = sys.argv[4] if len(sys.argv) > 4 else "a lighthouse"
    made = client.images.generate(model="flux-2-pro", prompt=prompt)
    return {"count": len(made.data)}


def limited():
    client.models.list()
    return {"refused": refused(lambda: client.with_options(max_retries=0).models.list())}


print(json.dumps(globals()[case]()))
