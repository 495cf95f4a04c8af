"""A small RTSP server, as a network camera has: it answers one client and sends H.264 by RTP over UDP."""

import re
import socket
import threading
import time

import av
import clips

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:track\r\n"
)


def start() -> int:
    """Starts it in a thread; returns its port on 127.0.0.1."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    return server.getsockname()[1]


def _serve(server: socket.socket) -> None:
    client, _ = server.accept()
    port = 0
    with client, client.makefile("rb") as requests:
        while request := b"".join(iter(requests.readline, b"\r\n")).decode():
            method, headers, body = request.split()[0], "Session: 1\r\n", ""
            if method == "DESCRIBE":
                headers, body = f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n", _SDP
            elif method == "SETUP":
                port = int(re.search(r"client_port=(\d+)", request)[1])
                headers += f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1};server_port=6970-6971\r\n"
            elif method == "PLAY":
                threading.Thread(target=_send, args=(port,), daemon=True).start()
            number = re.search(r"CSeq: (\d+)", request)[1]
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{headers}\r\n{body}".encode())
            if method == "TEARDOWN":
                return


def _send(port: int) -> None:
    with av.open(f"rtp://127.0.0.1:{port}", "w", format="rtp") as out:
        options = {"tune": "zerolatency", "preset": "ultrafast", "g": "5"}
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index, picture in enumerate(clips.pictures(300)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = index
            out.mux(stream.encode(frame))
            time.sleep(0.01)
